/** A configuration file cannot be used. The message names the file, the line, the key and what would be right. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code = 'GLEANER_CONFIG'
}
