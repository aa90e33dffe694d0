"use strict";
const all = (query) => [...document.querySelectorAll(query)];
const prepare = () => all(".scripted").forEach((each) => { each.hidden = false; });
const openTarget = () => {
  const target = document.getElementById(location.hash.slice(1));
  const outer = target && target.closest("details");
  if (outer) { outer.open = true; target.scrollIntoView(); }
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.className.includes("copy")) {
    const text = button.parentNode.querySelector("pre").textContent;
    navigator.clipboard.writeText(text).then(() => { button.textContent = "copied"; });
    return;
  }
  const row = button.parentNode.dataset.filters, kind = button.dataset.kind;
  all(`[data-filters="${row}"] button`).forEach((each) => each.setAttribute("aria-pressed", each === button));
  all(`[data-row="${row}"]`).forEach((each) => { each.hidden = kind && !each.dataset.kind.split("|").includes(kind); });
});
addEventListener("hashchange", openTarget);
prepare();
openTarget();
