#!/bin/sh
# Gleaner pilots of site {{ site.name }}: one subjob each, one worker per subjob. What runs is pilot.sh.
#PBS -N {{ submission.jobName | shell }}
#PBS -S /bin/sh
{%- if submission.array %}
#PBS -J 0-{{ submission.last }}
{%- endif %}
#PBS -j oe
#PBS -o /dev/null
#PBS -r n
#PBS -l select=1:ncpus={{ site.cpus }}{% if site.gpus > 0 %}:ngpus={{ site.gpus }}{% endif %}{% if site.memory != 'none' and site.memory > 0 %}:mem={{ site.memory }}mb{% endif %}
{%- if site.memory == 0 %}
#PBS -l place=excl
{%- endif %}
{%- if site.walltimeSeconds != '' %}
#PBS -l walltime={{ site.walltimeSeconds }}
{%- endif %}
{%- if site.queue != '' %}
#PBS -q {{ site.queue | shell }}
{%- endif %}
{%- if site.account != '' %}
#PBS -A {{ site.account | shell }}
{%- endif %}
{%- if site.project != '' %}
#PBS -P {{ site.project | shell }}
{%- endif %}
{%- for line in site.extraLines %}
{{ line }}
{%- endfor %}

cd "$PBS_O_WORKDIR" || exit 66
pilot=$(sed -n "$((${PBS_ARRAY_INDEX:-0} + 1))p" pilots)
# PBS keeps what a job prints on its node until the end; here it can be read meanwhile.
exec >>"logs/$pilot.log" 2>&1
# `exec`: PBS signals the job when it takes the node back, and that must be the worker.
exec /bin/sh ./pilot.sh "$pilot"
