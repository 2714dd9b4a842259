/** The dashboard: run and study folders, live, in a browser. */
export { writeSite, type WrittenSite } from './site.js';
export { serveDashboard, type DashboardOptions, type ServedDashboard } from './server.js';
