import { userRoutes } from './user-routes.ts'
import { workerRoutes } from './worker-routes.ts'

/** Every route that a manager serves, but for those of pieces, the dashboard and the OpenAI API. */
export const managerRoutes = { ...userRoutes, ...workerRoutes }
