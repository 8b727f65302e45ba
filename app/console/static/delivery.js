// Pages of deliveries and of an alert: while something is on its way (`data-waiting`), the live regions are read each second.
"use strict";
setInterval(() => {
  if (!document.hidden && document.querySelector("[data-live] [data-waiting], [data-live][data-waiting]")) window.vigie.refresh();
}, 1000);
