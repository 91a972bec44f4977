/*
 * What a shell needs to complete the words of `factory`. The words come from `factory complete`, which knows the commands; a first
 * line `:files` says that files may come besides.
 */

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

export const scripts: Record<Shell, string> = {
  bash: `# In ~/.bashrc: source <(factory completion bash)
_factory() {
  local words line files=''
  COMPREPLY=()
  words=$(factory complete -- "\${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null) || return
  while IFS= read -r line; do
    if [ "$line" = :files ]; then files=yes; continue; fi
    case $line in "\${COMP_WORDS[COMP_CWORD]}"*) COMPREPLY+=("$(printf %q "$line")") ;; esac
  done <<<"$words"
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")
  fi
}
complete -F _factory factory
`,
  zsh: `#compdef factory
# In ~/.zshrc, after compinit: source <(factory completion zsh)
_factory() {
  local -a found
  local files=''
  found=("\${(@f)$(factory complete -- "\${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
  if [[ \${found[1]} == :files ]]; then files=yes; shift found; fi
  compadd -- "\${(@)found:#}"
  if [[ -n $files ]]; then _files; fi
}
compdef _factory factory
`,
  fish: `# factory completion fish > ~/.config/fish/completions/factory.fish
function __factory_words
  set -l words (commandline -opc)
  set -l found (factory complete -- $words[2..-1] 2>/dev/null)
  for word in $found
    if test "$word" = ":files"
      __fish_complete_path (commandline -ct)
    else
      echo $word
    end
  end
end
complete -c factory -f -a '(__factory_words)'
`,
}
