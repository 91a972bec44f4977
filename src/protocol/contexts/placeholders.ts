/*
 * Text and JSON with placeholders such as `{{ prompt }}` or `{{ choices.0.text }}`: a path of names and positions, and
 * nothing else. What is not there is an error, never an empty text.
 */

/** One placeholder; its path is the first group. */
export const PLACEHOLDER = /\{\{\s*([\w-]+(?:\.[\w-]+)*)\s*\}\}/g

/** The paths that a text, or all texts in a JSON value, have placeholders for. */
export function pathsIn(template: unknown): string[] {
  return textsIn(template).flatMap((text) => [...text.matchAll(PLACEHOLDER)].map(([, path]) => path!))
}

/** Whether all braces in it are those of placeholders. */
export function isTemplate(template: unknown): boolean {
  return textsIn(template).every((text) => !/\{\{|\}\}/.test(text.replaceAll(PLACEHOLDER, '')))
}

function textsIn(template: unknown): string[] {
  if (typeof template === 'string') return [template]
  return typeof template === 'object' && template !== null ? Object.values(template).flatMap(textsIn) : []
}
