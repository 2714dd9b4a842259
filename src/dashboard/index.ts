/** The dashboard: run and study folders, live, in a browser. */
export { serveDashboard, type DashboardOptions, type ServedDashboard } from './server.js';
