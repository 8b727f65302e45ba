// Runs before the page is painted: the chosen theme must not flash.
document.body.dataset.theme = localStorage.getItem("theme") || "auto";
