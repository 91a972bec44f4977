import type { managerRoutes } from '../../../protocol/routes/manager-routes.ts'
import type { Handlers } from '../serve-routes.ts'

/** What answers each route of the manager. */
export type ManagerHandlers = Handlers<typeof managerRoutes>
