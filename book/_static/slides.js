// Arrow keys go from slide to slide. Without this script the page is the same, and scrolls.
const slides = [...document.querySelectorAll(".slide")];
const here = () => slides.findLastIndex(slide => slide.getBoundingClientRect().top < innerHeight / 2);
const steps = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: -Infinity, End: Infinity };
addEventListener("keydown", event => {
  const step = steps[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey || (event.key === " " && event.target.closest("a"))) return;
  event.preventDefault();
  slides[Math.min(slides.length - 1, Math.max(0, here() + step))].scrollIntoView({ behavior: "instant" });
});
