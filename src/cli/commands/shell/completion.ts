import { Argument, type Command } from 'commander'
import { scripts, type Shell, SHELLS } from '../../completion/scripts.ts'

export function define(command: Command): void {
  command
    .description(
      'Prints what has a shell complete commands, options, and the names of jobs, sites and contexts. In ~/.bashrc: ' +
        'source <(factory completion bash)',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell) => void process.stdout.write(scripts[shell]))
}
