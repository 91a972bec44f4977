import type { TaskError } from '../../protocol/task.ts'

/**
 * An error of a library, with bundles by the names that the context has for them: where they lie in a node's cache says nothing to the
 * context's author. Stacks stay as they are.
 *
 * @param folders of the bundles, by name
 */
export function nameBundles(error: TaskError, folders: Readonly<Record<string, string>>): TaskError {
  // The longest first: one folder may begin as another does.
  const known = Object.entries(folders).sort(([, a], [, b]) => b.length - a.length)
  const inText = (text: string) =>
    known.reduce(
      (said, [name, folder]) =>
        said.replaceAll(`${folder}/`, `bundle ${name}: `).replaceAll(folder, `bundle ${name}`),
      text,
    )
  const inError = ({ cause, errors, ...rest }: TaskError): TaskError => ({
    ...rest,
    message: inText(rest.message),
    ...(cause && { cause: inError(cause) }),
    ...(errors && { errors: errors.map(inError) }),
  })
  return inError(error)
}
