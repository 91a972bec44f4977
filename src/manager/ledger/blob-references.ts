import type { BlobRef } from '../../protocol/blob.ts'
import type { Statements } from './database.ts'

/*
 * Which blobs jobs keep, as the ledger has it: a blob is needed as long as a job keeps it. What writes here is part of
 * whatever write is under way.
 */

/** A task or a result of the job refers to these. */
export function addBlobReferences(ledger: Statements, job: number, blobs: readonly BlobRef[]): void {
  const keep = ledger.sql('INSERT OR IGNORE INTO job_blobs VALUES (?, ?)')
  for (const { sha256 } of blobs) keep.run(job, sha256)
}

/** The job keeps none any more. Its tasks and results still name them. */
export function dropBlobReferences(ledger: Statements, job: number): void {
  ledger.sql('DELETE FROM job_blobs WHERE job = ?').run(job)
}

/** Whether some job keeps a blob. */
export function isBlobReferenced(ledger: Statements, sha256: string): boolean {
  return ledger.sql('SELECT 1 FROM job_blobs WHERE sha256 = ? LIMIT 1').get(sha256) !== undefined
}

/** Numbers of the jobs that keep blobs. */
export function jobsWithBlobs(ledger: Statements): number[] {
  const rows = ledger.sql('SELECT DISTINCT job FROM job_blobs').all()
  return rows.map(({ job }) => job as number)
}
