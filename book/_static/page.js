// The keyboard reaches whatever scrolls to the side: the theme sees to code and tables, this to figures, and to folds that open.
const reach = () => document.querySelectorAll("article figure").forEach(figure =>
  figure.toggleAttribute("tabindex", figure.scrollWidth > figure.clientWidth) && figure.setAttribute("tabindex", 0));
["load", "resize"].forEach(change => addEventListener(change, reach));
addEventListener("toggle", () => dispatchEvent(new Event("resize")), true);
// A page that is opened from a disk may fetch nothing, and the search takes its excerpts from the pages that it finds.
addEventListener("DOMContentLoaded", () => location.protocol === "file:" && document.getElementById("search-results")?.insertAdjacentHTML(
  "beforebegin", "<p class='from-disk'>Opened from a disk, the search finds pages but may show no excerpts: those need a server, such as <code>python -m http.server</code> in this folder.</p>"));
