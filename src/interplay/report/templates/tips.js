// Tooltips for every chart: mouse, touch and keyboard. A chart is one tab stop; arrow keys walk through its points.
// Text only ever enters the page through textContent. Shared with explorer.js through `Interplay`.
"use strict";
const Interplay = (() => {
  const tip = document.getElementById("tip");
  const texts = new WeakMap();

  // A <title> shows a tooltip without a script; with one, ours replaces it.
  const adopt = (root) => {
    for (const pt of root.querySelectorAll(".pt")) {
      const title = pt.querySelector(":scope > title");
      if (title) { texts.set(pt, title.textContent); title.remove(); }
      else if (pt.dataset.tip) texts.set(pt, pt.dataset.tip);
    }
    const charts = [...root.querySelectorAll(".chart")];
    if (root.matches && root.matches(".chart")) charts.push(root);
    for (const chart of charts) chart.tabIndex = 0;
  };
  const set = (pt, text) => texts.set(pt, text);

  const hide = () => { tip.hidden = true; };
  const show = (pt, x, y) => {
    const text = texts.get(pt);
    if (!text) return hide();
    const [head, ...rest] = text.split("\n");
    const strong = document.createElement("strong");
    strong.textContent = head;
    tip.replaceChildren(strong, rest.length ? "\n" + rest.join("\n") : "");
    tip.hidden = false;
    if (x === undefined) {
      const box = pt.getBoundingClientRect();
      x = box.left + box.width / 2;
      y = box.top + Math.min(box.height / 2, 60);
    }
    const w = tip.offsetWidth, h = tip.offsetHeight;
    const left = x + 16 + w > innerWidth - 8 ? x - w - 16 : x + 16;
    const top = y - h - 12 < 8 ? y + 18 : y - h - 12;
    tip.style.left = Math.max(8, Math.min(left, innerWidth - w - 8)) + "px";
    tip.style.top = Math.max(8, Math.min(top, innerHeight - h - 8)) + "px";
  };
  const say = (pt, on) => pt.dispatchEvent(new CustomEvent("point", { bubbles: true, detail: on }));
  const activate = (chart, pt) => {
    for (const old of chart.querySelectorAll(".pt.active")) if (old !== pt) { old.classList.remove("active"); say(old, false); }
    if (pt) { pt.classList.add("active"); pt.scrollIntoView({ block: "nearest", inline: "nearest" }); say(pt, true); show(pt); }
  };

  document.addEventListener("pointerover", (e) => {
    const pt = e.target.closest ? e.target.closest(".pt") : null;
    if (!pt) return hide();
    show(pt, e.clientX, e.clientY);
    say(pt, true);
  });
  document.addEventListener("pointermove", (e) => {
    const pt = e.target.closest ? e.target.closest(".pt") : null;
    if (pt && !tip.hidden) show(pt, e.clientX, e.clientY);
  });
  document.addEventListener("pointerout", (e) => {
    const pt = e.target.closest ? e.target.closest(".pt") : null;
    if (pt && !pt.contains(e.relatedTarget)) { say(pt, false); hide(); }
  });
  document.addEventListener("focusin", (e) => {
    const chart = e.target;
    if (!chart.matches || !chart.matches(".chart") || !chart.matches(":focus-visible")) return;
    activate(chart, chart.querySelector(".pt.active") || chart.querySelector(".pt"));
  });
  document.addEventListener("focusout", (e) => {
    if (e.target.matches && e.target.matches(".chart")) { activate(e.target, null); hide(); }
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") return hide();
    const chart = e.target;
    if (!chart.matches || !chart.matches(".chart")) return;
    const points = [...chart.querySelectorAll(".pt")];
    const at = points.findIndex((p) => p.classList.contains("active"));
    const moves = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: points.length - 1 };
    if (!(e.key in moves) || !points.length) return;
    e.preventDefault();
    activate(chart, points[Math.max(0, Math.min(points.length - 1, moves[e.key]))]);
  });
  addEventListener("scroll", () => { if (!document.activeElement || !document.activeElement.matches(".chart")) hide(); }, { passive: true });

  adopt(document);
  return { adopt, set };
})();
