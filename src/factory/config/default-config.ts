/** What `factory init` writes: a configuration that runs as it is, and shows what else there is. */
export const defaultConfigYaml =
  () => `# Gleaner's configuration. Also read, and overridden by this file key by key:
# /etc/gleaner/factory.yaml and ~/.config/gleaner/factory.yaml.

manager:
  # Where pilots reach the manager. For pilots on other machines: an address they can dial, e.g. 0.0.0.0:9700.
  listen: 127.0.0.1:0
  # Pilots without work leave after this long.
  idle: 2m

# Context files (or folders with a context.yaml) registered at the start.
contexts:
  - ./contexts/fact-verification

sites:
  # Pilots as processes of this machine.
  here:
    kind: local
    policy: fixed # keep \`count\` pilots while there is work
    count: 2
    cpus: 1

  # cluster:
  #   kind: slurm
  #   policy: opportunistic # always keep \`pending\` pilots waiting, so that any idle node is taken at once
  #   pending: 4
  #   max: 50
  #   partition: preemptible
  #   account: my-project
  #   transport: { ssh: login.example.org } # if sbatch is not here but there
  #   gpus: 1
  #   cpus: 4
  #   memory: 16GB
  #   walltime: 4h
  #   grace: 30s # warning between SIGTERM and SIGKILL when a pilot is preempted
  #   cacheFolder: /scratch/$USER/gleaner # node-local, outlives the pilot
  #   setup: |
  #     . /etc/profile.d/modules.sh
  #     module load cuda

  # pool:
  #   kind: htcondor
  #   policy: demand # as many as finish the backlog in time, by measured speed
  #   finishWithin: 1h
  #   max: 100
  #   gpus: 1
  #   memory: 16GB
  #   requirements: CUDACapability >= 7.0
  #   attributes:
  #     AccountingGroup: '"group_physics"'
`
