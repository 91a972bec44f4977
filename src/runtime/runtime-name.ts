const PREFIX = 'runtime-'

/** What the bundle of a runtime is called in a store. Apart from what packs it, which brings a compiler along. */
export const runtimeName = (key: string): string => PREFIX + key

export const isRuntimeName = (name: string): boolean => name.startsWith(PREFIX)
