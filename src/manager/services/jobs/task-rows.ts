import type { FindRowsRequest } from '../../../protocol/client.ts'
import { JsonText, textOf } from '../../../protocol/json/json-text.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import type { StoredResult, StoredRow } from '../../ledger/result-store.ts'

/** Most characters of rows in one answer, unless a single one is larger. */
const PAGE_LENGTH = 16 << 20

/** Tasks of jobs with inputs and results, as JSON: they go from the ledger to the wire as the text they are. */
export class TaskRows {
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** The job's tasks in the order in which they were added. */
  page(job: number, after: number, limit: number): JsonText {
    const { rows, next } = this.#ledger.results.rows(job, after, limit, PAGE_LENGTH)
    return new JsonText(
      `{"rows":[${rows.map(rowText).join(',')}]${next === undefined ? '' : `,"next":${next}`}}`,
    )
  }

  /** Those of these keys. */
  find(job: number, { keys, resultsOnly = false }: FindRowsRequest): JsonText {
    const { rows, looked } = this.#ledger.results.rowsOf(job, keys, { resultsOnly, maxLength: PAGE_LENGTH })
    return new JsonText(`{"rows":[${rows.map(rowText).join(',')}],"looked":${looked}}`)
  }
}

function rowText({ input, result, ...row }: StoredRow): string {
  const parts = [
    ...(input ? [`"input":${input.text}`] : []),
    ...(result ? [`"result":${resultText(result)}`] : []),
  ]
  return [JSON.stringify(row).slice(0, -1), ...parts].join(',') + '}'
}

/** A result as JSON. */
export function resultText({ value, ...row }: StoredResult): string {
  const text = JSON.stringify(row)
  return value ? `${text.slice(0, -1)},"value":${textOf(value)}}` : text
}
