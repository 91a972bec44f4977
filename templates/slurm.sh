#!/bin/sh
# Gleaner pilots of site {{ site.name }}: one array element each, one worker per element. What runs is pilot.sh.
#SBATCH --job-name={{ submission.jobName | shell }}
#SBATCH --chdir={{ submission.folder | shell }}
{%- if submission.array %}
#SBATCH --array=0-{{ submission.last }}
#SBATCH --output=logs/%a.out
{%- else %}
#SBATCH --output=logs/0.out
{%- endif %}
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={{ site.cpus }}
{%- if site.memory != 'none' %}
#SBATCH --mem={{ site.memory }}M
{%- endif %}
{%- if site.disk != '' %}
#SBATCH --tmp={{ site.disk }}M
{%- endif %}
{%- if site.gpus > 0 %}
#SBATCH --gres=gpu:{{ site.gpus }}
{%- endif %}
{%- if site.walltimeMinutes != '' %}
#SBATCH --time={{ site.walltimeMinutes }}
{%- endif %}
{%- if site.partition != '' %}
#SBATCH --partition={{ site.partition | shell }}
{%- endif %}
{%- if site.account != '' %}
#SBATCH --account={{ site.account | shell }}
{%- endif %}
{%- if site.qos != '' %}
#SBATCH --qos={{ site.qos | shell }}
{%- endif %}
{%- if site.constraint != '' %}
#SBATCH --constraint={{ site.constraint | shell }}
{%- endif %}
{%- if site.reservation != '' %}
#SBATCH --reservation={{ site.reservation | shell }}
{%- endif %}
{%- if submission.avoidNodes.size > 0 %}
#SBATCH --exclude={{ submission.avoidNodes | join: ',' | shell }}
{%- endif %}
#SBATCH {% if site.requeue %}--requeue{% else %}--no-requeue{% endif %}
{%- for line in site.extraLines %}
{{ line }}
{%- endfor %}

# What --mem-per-cpu gives is known by its share only.
if [ -n "${SLURM_MEM_PER_CPU:-}" ]; then
  export SLURM_MEM_PER_NODE="${SLURM_MEM_PER_NODE:-$((SLURM_MEM_PER_CPU * ${SLURM_CPUS_ON_NODE:-1}))}"
fi
# `exec` throughout: Slurm signals the batch script when it takes the node back, and that must be the worker.
pilot=$(sed -n "$((${SLURM_ARRAY_TASK_ID:-0} + 1))p" pilots)
exec /bin/sh ./pilot.sh "$pilot"
