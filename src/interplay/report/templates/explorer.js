// The list of prompts and the explorer: the prompt that is opened is unpacked and drawn, with createElementNS and textContent only.
"use strict";
(() => {
  const island = document.getElementById("data");
  if (!island) return;
  const data = JSON.parse(island.textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = document.querySelector("svg").namespaceURI;
  const MINUS = "\u2212";
  const OUTCOME = { n: "new", s: "stronger", f: "flipped", g: "gone", w: "weaker", k: "kept" };
  const CLASS = { new: "s-emerged", stronger: "s-emerged", flipped: "s-emerged", gone: "s-removed", weaker: "s-removed", kept: "s-preserved" };
  const state = { prompt: null, step: data.steps.indexOf(data.shown), open: {} };

  const el = (name, attributes = {}, ...inside) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  };
  const draw = (name, attributes = {}, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, typeof value === "number" ? +value.toFixed(2) : value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const num = (x, signed) => {
    if (x === null || x === undefined) return "–";
    const a = Math.abs(x);
    const s = a === 0 ? "0" : a < 0.0995 ? a.toFixed(3) : a < 9.995 ? a.toFixed(2) : a < 99.95 ? a.toFixed(1) : a.toFixed(0);
    return (x < 0 ? MINUS : signed && x > 0 ? "+" : "") + s;
  };
  const percent = (v) => {
    if (v === null) return "–";
    const p = 100 / (1 + Math.exp(-v));
    return p < 0.1 ? "<\u00a00.1\u00a0%" : p > 99.9 ? ">\u00a099.9\u00a0%" : (p < 10 || p > 90 ? p.toFixed(1) : p.toFixed(0)) + "\u00a0%";
  };

  const prompt = () => state.prompt;
  const unit = () => prompt().units[state.step];
  const members = (code) => prompt().words.map((_, i) => i).filter((i) => (code >> 1) >> i & 1);
  // The reference has changed from nothing, so it shows effects.
  const byChange = () => $("ex-by-change").checked && data.steps[state.step] !== data.reference;
  const drawn = (x) => byChange() ? x.effect - x.before : x.effect;
  const ranked = (u) => u.m.map((code, i) => ({ code, before: u.b[i] * prompt().unit, effect: u.e[i] * prompt().unit, outcome: OUTCOME[u.o[i]], sure: u.s[i], instead: u.i[i], words: members(code) }))
    .filter((x) => drawn(x) !== 0).sort((a, b) => Math.abs(drawn(b)) - Math.abs(drawn(a)));
  const isOr = (x) => (x.code & 1) === 1;
  const said = (code, and, or) => members(code).map((i) => prompt().words[i]).join(code & 1 ? or : and);
  // Where another split, as sparse within 1 %, has something else in its place.
  const instead = (x) => x.instead === null || x.instead === undefined ? "" : said(x.instead, " AND ", " OR ");
  const kind = (x) => x.words.length === 1 ? "one word" : isOr(x) ? "OR" : "AND";
  // A change that another wording of the prompt makes too is in brackets.
  const within = (x) => prompt().floor !== null && Math.abs(x.effect - x.before) <= prompt().floor;
  const outcome = (x) => within(x) ? "[" + x.outcome + "]" : x.outcome;
  const moved = (x) => num(x.before, true) + " → " + num(x.effect, true);
  const about = (x) => x.words.map((i) => prompt().words[i]).join(isOr(x) ? " / " : " + ") + "\n" + (x.outcome ? kind(x) : "Shapley value") + ", " +
    (byChange() ? moved(x) + " log-odds\nchange " + num(drawn(x), true) : num(x.effect, true) + " log-odds") + (x.outcome && byChange() ? ", " + outcome(x) : "") +
    (x.sure === null || x.sure === undefined ? "" : x.sure < 100 && instead(x) ? "\nin " + x.sure + " % of other splits; else " + instead(x) : "\nthe same in other splits, as sparse");

  // Lighting up: an interaction lights its words, a word lights its interactions.
  const light = (test, words) => {
    const any = test !== null;
    for (const node of document.querySelectorAll("#explorer [data-code]")) node.classList.toggle("faded", any && !test(+node.dataset.code));
    for (const node of document.querySelectorAll("#explorer [data-word]")) {
      const on = words.includes(+node.dataset.word);
      node.classList.toggle("on", any && on);
      node.classList.toggle("off", any && !on);
    }
  };
  $("explorer").addEventListener("point", (e) => {
    const node = e.target;
    if (!e.detail) return light(null, []);
    if (node.dataset.code !== undefined) light((c) => c === +node.dataset.code, members(+node.dataset.code));
  });
  $("explorer").addEventListener("pointerover", (e) => {
    const word = e.target.closest("[data-word]");
    if (word) light((c) => (c >> 1) >> +word.dataset.word & 1, [+word.dataset.word]);
  });
  $("explorer").addEventListener("pointerout", (e) => { if (e.target.closest("[data-word]")) light(null, []); });

  const chips = (box, name, labels, key, decorate) => {
    labels.forEach((label, i) => {
      const id = name + "-" + i;
      const input = el("input", { type: "radio", name, id, value: i });
      input.checked = i === state[key];
      input.addEventListener("change", () => { state[key] = i; state.open = {}; update(); });
      const tag = el("label", { for: id }, el("bdi", {}, label));
      decorate(tag, i);
      box.append(input, tag);
    });
  };

  const sentence = () => {
    const box = $("ex-text");
    box.replaceChildren(el("bdi", {}, ...prompt().text.map(([text, word]) =>
      word < 0 ? document.createTextNode(text) : el("bdi", { class: "w", "data-word": word }, text))));
  };

  const scores = () => {
    const u = unit(), p = prompt(), box = $("ex-score");
    const target = el("b", {}, "‘", el("bdi", {}, p.target), "’");
    const gold = p.label !== null ? [" (gold label ", el("bdi", {}, p.label), ")"] : [];
    if (!u) { box.replaceChildren("Target ", target, ...gold, ". This prompt was not measured at step " + data.steps[state.step] + "."); return; }
    box.replaceChildren("Score of ", target, ...gold, ": ", el("b", {}, num(u.v[0], true)), " log-odds " + data.score + " (" + percent(u.v[0]) + ") with all words, ",
      el("b", {}, num(u.v[1], true)), " (" + percent(u.v[1]) + ") without them.");
  };

  const spark = () => {
    const W = 380, H = 92, L = 8, R = 76, T = 8, B = 20, n = data.steps.length;
    const units = prompt().units;
    const all = units.flatMap((u) => u ? [u.v[0], u.v[1]] : []).filter((v) => v !== null);
    const lo = Math.min(0, ...all), hi = Math.max(0, ...all), span = hi - lo || 1;
    const px = (i) => L + data.at[i] * (W - L - R), py = (v) => H - B - (v - lo) / span * (H - T - B);
    if (n < 2) return $("ex-spark").replaceChildren();
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Score with all words and with none over the steps" });
    svg.append(draw("line", { class: "zero", x1: L, x2: W - R, y1: py(0), y2: py(0) }));
    svg.append(draw("line", { class: "spark-on", x1: px(state.step), x2: px(state.step), y1: T - 4, y2: H - B }));
    const ends = [];
    [["s-all", 0, "all words"], ["s-removed", 1, "masked"]].forEach(([css, k, name]) => {
      const spots = units.map((u, i) => u && u.v[k] !== null ? [px(i), py(u.v[k])] : null).filter(Boolean);
      if (!spots.length) return;
      svg.append(draw("path", { class: "curve " + css, d: "M" + spots.map((s) => s.map((v) => v.toFixed(1)).join(" ")).join("L") }));
      spots.forEach(([x, y]) => svg.append(draw("circle", { class: "mark " + css, cx: x, cy: y, r: 2.6 })));
      ends.push({ css, name, y: spots[spots.length - 1][1] });
    });
    ends.sort((a, b) => a.y - b.y);
    if (ends.length === 2 && ends[1].y - ends[0].y < 14) { const m = (ends[0].y + ends[1].y) / 2; ends[0].y = m - 7; ends[1].y = m + 7; }
    for (const e of ends) svg.append(draw("text", { class: "label " + e.css, x: W - R + 8, y: e.y + 4 }, e.name));
    let right = -99;
    data.steps.forEach((s, i) => {
      const half = String(s).length * 3.6 + 3, must = i === state.step;
      if (must || (px(i) - half > right && Math.abs(px(i) - px(state.step)) > half + String(data.steps[state.step]).length * 3.6 + 3)) {
        svg.append(draw("text", { class: "tick mid" + (must ? " now" : ""), x: px(i), y: H - 5 }, s));
        right = px(i) + half;
      }
      const pt = draw("g", { class: "pt" }), a = i ? (px(i - 1) + px(i)) / 2 : 0, b = i < n - 1 ? (px(i) + px(i + 1)) / 2 : W - R + 6;
      pt.append(draw("rect", { class: "hit", x: a, y: 0, width: b - a, height: H }));
      const u = units[i];
      Interplay.set(pt, "step " + s + "\n" + (u ? "all words " + num(u.v[0], true) + ", masked " + num(u.v[1], true) + " log-odds" : "not measured"));
      pt.addEventListener("click", () => { $("ex-step-" + i).checked = true; state.step = i; state.open = {}; update(); });
      svg.append(pt);
    });
    $("ex-spark").replaceChildren(svg);
    Interplay.adopt($("ex-spark"));
  };

  const chords = () => {
    const box = $("ex-chords"), all = unit() ? ranked(unit()) : [], words = prompt().words;
    const W = Math.max(280, box.clientWidth), ROW = 31, TOP = 112, H = TOP + ROW * words.length + 8, narrow = W < 560;
    const fit = Math.floor((narrow ? 0.3 : 0.24) * W / 8);
    const label = (w) => w.length > fit ? w.slice(0, fit - 1) + "…" : w;
    const middle = Math.max(96, Math.max(...words.map((w) => label(w).length)) * 8 + 30);
    const most = Math.floor((W - middle - 16) / 13);
    const shown = all.slice(0, Math.min(+$("ex-k").value, most));
    $("ex-k-out").textContent = shown.length;
    $("ex-count").textContent = all.length ? shown.length + " of " + all.length + " drawn, the strongest." : "";
    if (!shown.length) { box.replaceChildren(el("p", { class: "nothing" }, unit() ? "Nothing to draw: no interaction is salient or has changed." : "Not measured at this step.")); return; }
    const down = shown.filter((x) => drawn(x) < 0), up = shown.filter((x) => drawn(x) >= 0);
    const lane = Math.min(34, (W - middle - 16) / Math.max(8, shown.length));
    const used = middle + lane * shown.length;
    let left = (W - used) / 2 + lane * down.length;
    left = Math.max(narrow ? 84 : 120, Math.min(left, W - middle - (narrow ? 84 : 120)));
    left = Math.max(left, 4 + lane * down.length); left = Math.min(left, W - 4 - middle - lane * up.length);
    const right = left + middle, top = Math.abs(drawn(shown[0]));
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": shown.length + " strongest interactions; arrow keys read them one by one" });
    const a = left - lane * down.length - 4, b = right + lane * up.length + 4;
    words.forEach((word, i) => {
      const y = TOP + ROW * (i + 0.5);
      if (down.length) svg.append(draw("line", { class: "staff", x1: a, x2: left, y1: y, y2: y }));
      if (up.length) svg.append(draw("line", { class: "staff", x1: right, x2: b, y1: y, y2: y }));
      svg.append(draw("text", { class: "cword mid", "data-word": i, x: (left + right) / 2, y: y + 5 }, label(word)));
    });
    const base = TOP - 12, height = 68;
    for (const [on, x1, x2] of [[down.length, a, left], [up.length, right, b]]) if (on) svg.append(draw("line", { class: "zero", x1, x2, y1: base, y2: base }));
    svg.append(draw("text", { class: "tick mid", x: (left + right) / 2, y: base + 4 }, "0"));
    svg.append(draw("text", { class: "tick mid", x: (left + right) / 2, y: base - height + 4 }, num(top)));
    svg.append(draw("text", { class: "name mid", x: (left + right) / 2, y: base - height / 2 + 3 }, "log-odds"));
    svg.append(draw("text", { class: "side end", x: left - 6, y: 13 }, narrow ? "← lowers" : "← lowers the score"));
    svg.append(draw("text", { class: "side", x: right + 6, y: 13 }, narrow ? "raises →" : "raises the score →"));
    const chord = (x, cx) => {
      const part = Math.abs(drawn(x)) / top, g = draw("g", { class: "pt chord " + CLASS[x.outcome] + (x.outcome === "flipped" ? " again" : ""), "data-code": x.code });
      const w = Math.min(15, lane * 0.62), h = Math.max(1, part * height);
      g.append(draw("rect", { class: "hit", x: cx - lane / 2, y: base - height - 6, width: lane, height: H - base + height + 2 }));
      g.append(draw("rect", { class: "cbar" + (drawn(x) < 0 ? " neg" : ""), x: cx - w / 2, y: base - h, width: w, height: h, rx: 1 }));
      const ys = x.words.map((i) => TOP + ROW * (i + 0.5)), r = Math.min(lane * 0.36, 3.2 + 2.6 * part);
      if (ys.length > 1) {
        const stem = draw("path", { class: "stem" + (isOr(x) ? " or" : ""), d: `M${cx.toFixed(1)} ${ys[0]}V${ys[ys.length - 1]}` });
        stem.style.strokeWidth = (1.1 + 2.6 * part).toFixed(2);
        g.append(stem);
      }
      for (const y of ys) g.append(draw("circle", { class: isOr(x) ? "note-or" : "note-and", cx, cy: y, r }));
      Interplay.set(g, about(x));
      return g;
    };
    down.map((x, i) => chord(x, left - lane * (i + 0.5))).reverse().forEach((g) => svg.append(g));
    up.forEach((x, i) => svg.append(chord(x, right + lane * (i + 0.5))));
    box.replaceChildren(svg);
    Interplay.adopt(box);
  };

  const FEW = 12;
  const list = (key, title, items, total, note = "") => {
    const box = el("div"), top = Math.max(1e-12, ...items.map((x) => Math.abs(drawn(x))));
    box.append(el("h3", {}, el("span", {}, title), el("span", { class: "quiet" }, total)));
    if (note) box.append(el("p", { class: "say" }, note));
    if (!items.length) { box.append(el("p", { class: "nothing" }, "Nothing.")); return box; }
    const ul = el("ul", { class: "chart", "aria-label": title + "; arrow keys read them one by one" });
    for (const x of state.open[key] ? items : items.slice(0, FEW)) {
      const name = el("span"), css = x.outcome ? CLASS[x.outcome] : "s-all";
      x.words.forEach((w, i) => { if (i) name.append(" ", el("span", { class: "join" }, isOr(x) ? "OR" : "AND"), " "); name.append(el("bdi", {}, prompt().words[w])); });
      if (byChange()) name.append(" ", el("span", { class: "tagged" }, (x.outcome ? outcome(x) + ", " : "") + moved(x)));
      if (instead(x)) name.append(" ", el("span", { class: "tagged" }, "≈ ", el("bdi", {}, instead(x))));
      const bar = el("i", { class: css + (drawn(x) < 0 ? " neg" : "") }), wide = 50 * Math.abs(drawn(x)) / top;
      bar.style.width = wide.toFixed(1) + "%";
      bar.style.left = (drawn(x) < 0 ? 50 - wide : 50).toFixed(1) + "%";
      const li = el("li", { class: "pt", "data-code": x.code }, name, el("span", { class: "meter" }, bar), el("span", { class: "num" }, num(drawn(x), true)));
      Interplay.set(li, about(x));
      ul.append(li);
    }
    box.append(ul);
    if (items.length > FEW) {
      const button = el("button", { type: "button", class: "more", id: "ex-more-" + key }, state.open[key] ? "Show the strongest " + FEW : "Show all " + items.length);
      button.addEventListener("click", () => { state.open[key] = !state.open[key]; lists(); $("ex-more-" + key).focus(); });
      box.append(button);
    }
    return box;
  };
  const lists = () => {
    const u = unit(), box = $("ex-lists"), r = data.reference, first = prompt().units[data.steps.indexOf(r)];
    if (!u) return box.replaceChildren();
    const words = u.w.map((effect, i) => ({ code: 2 << i, before: first ? first.w[i] : 0, effect, outcome: "", words: [i] }));
    const floor = prompt().floor, items = ranked(u), above = items.filter((x) => !within(x)).length;
    const note = byChange() && floor !== null ? above + " above " + num(floor) + ", the most that another wording changes; the others are in brackets" : "";
    const of = byChange() ? "Changes since step " + r : "Effects at step " + data.steps[state.step];
    box.replaceChildren(
      list("words", "Words", words, (byChange() ? "change of the " : "") + "Shapley value"),
      list("all", of, items, items.length + ", together " + num(items.reduce((sum, x) => sum + Math.abs(drawn(x)), 0)), note));
    Interplay.adopt(box);
  };

  const certificate = () => {
    const u = unit(), parts = [];
    if (u) {
      if (u.v[5] !== null) parts.push("salient above tau = " + num(u.v[5]));
      if (u.v[2] !== null) parts.push("duality gap " + u.v[2].toPrecision(2));
      if (u.v[3] !== null) parts.push("worst residual " + u.v[3].toPrecision(2));
      if (u.v[4] !== null) parts.push("score noise " + u.v[4].toPrecision(2));
      if (u.v[6] !== null) parts.push("the salient ones alone miss the scores by " + num(u.v[6]) + " of their spread");
      if (u.n > data.most) parts.push("this page has only the strongest " + data.most + " of " + u.n);
    }
    $("ex-certificate").textContent = parts.length ? "This prompt and step: " + parts.join("; ") + " (log-odds)." : "";
  };

  const update = () => { if (!state.prompt) return; sentence(); scores(); spark(); chords(); lists(); certificate(); };
  chips($("ex-steps"), "ex-step", data.steps.map(String), "step", (tag, i) => { if (data.steps[i] === data.keep) tag.className = "kept"; });
  for (const id of ["ex-k", "ex-by-change", "ex-by-effect"]) $(id).addEventListener("input", () => { if (state.prompt) { chords(); lists(); } });

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  };
  const folds = [...$("list").querySelectorAll("details")];
  $("list").addEventListener("toggle", async (e) => {
    const fold = e.target;
    if (!fold.open) { if (fold.contains($("explorer"))) $("explorer").hidden = true; return; }
    for (const other of folds) if (other !== fold) other.open = false;
    const found = await unpack(data.prompts[fold.dataset.i]);
    if (!fold.open) return;
    state.prompt = found;
    state.open = {};
    fold.append($("explorer"));
    $("explorer").hidden = false;
    update();
  }, true);

  // Without a search the first few; those whose answer changed are first.
  const SHOWN = 12;
  const texts = folds.map((fold) => fold.firstChild.textContent.toLowerCase());
  let all = folds.length <= SHOWN;
  const filter = () => {
    const asked = $("search").value.trim().toLowerCase(), right = texts.map((text) => text.includes(asked));
    const some = !all && !asked;
    folds.forEach((fold, i) => { fold.parentNode.hidden = some ? i >= SHOWN : !right[i]; });
    $("every").hidden = !some;
    $("found").textContent = asked ? right.filter(Boolean).length + " of " + folds.length : "";
  };
  $("search").addEventListener("input", filter);
  $("every").addEventListener("click", () => { all = true; filter(); });
  $("find").hidden = false;
  filter();
  let wide = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; if (state.prompt) chords(); } });
})();
