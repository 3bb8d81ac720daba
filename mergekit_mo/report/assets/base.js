// What every part of the page uses: the facts, small helpers for elements and numbers, and the one
// state that they share, which trial is chosen.
//
// Rule: no text becomes HTML. Elements are made by `R.el`, which sets text as text.

R.data = JSON.parse(document.getElementById("data").textContent);
R.live = R.data.live;
R.learnt = R.data.learnt;
R.chosen = null;

// Takes new facts and prepares what is looked up often.
R.take = (facts) => {
  R.facts = facts;
  R.goals = facts.goals;
  R.trials = facts.trials;
  R.byNumber = new Map(facts.trials.map((t) => [t.n, t]));
  R.parents = facts.trials.filter((t) => t.role === "reference" && t.scores);
  R.candidates = facts.trials.filter((t) => t.role === "candidate");
  R.done = R.candidates.filter((t) => t.scores);
  R.front = R.candidates.filter((t) => t.front);
};

// Listeners by event: `chosen`, `facts`, `learnt`, `theme`.
R.listeners = {};
R.on = (event, f) => (R.listeners[event] ??= []).push(f);
R.emit = (event) => (R.listeners[event] ?? []).forEach((f) => f());

R.byId = (id) => document.getElementById(id);

// An element with attributes (those that begin with `on` are listeners) and children; a child that
// is no element becomes text.
R.el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
};

R.fill = (id, ...children) => R.byId(id).replaceChildren(...children.filter((c) => c));

// A labelled select. `options` are [value, text]; the present choice is kept where it still stands.
R.picker = (label, options, value, onchange) => {
  const select = R.el("select", { onchange: () => onchange(select.value) });
  for (const [v, text] of options) select.append(R.el("option", { value: v }, text));
  select.value = value;
  return R.el("label", {}, label, select);
};

R.tick = (label, checked, onchange, swatch) => {
  const box = R.el("input", { type: "checkbox", onchange: () => onchange(box.checked) });
  box.checked = checked;
  return R.el("label", {}, box, swatch, label);
};

// A number as people read it: four significant digits.
R.number = (v) => {
  if (v === null || v === undefined) return "–";
  if (typeof v !== "number") return String(v);
  const size = Math.abs(v);
  if (v === 0 || (size >= 1e-3 && size < 1e5)) return String(Number(v.toPrecision(4)));
  return v.toExponential(2);
};

// A score, [value, standard error, items, low, high], with its 95 % interval.
R.score = (s) => (s ? R.number(s[0]) + (R.known(s[3]) ? ` ${R.ends(s[3], s[4])}` : "") : "–");
R.known = (v) => v !== null && v !== undefined;
R.ends = (low, high) => {
  const digits = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(Math.max(high - low, 1e-12) / 2))));
  return `[${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
};

// A bound at or beyond a value, on a round number for an axis of that span.
R.round = (v, span, up) => {
  const step = 10 ** Math.floor(Math.log10(span || Math.abs(v) || 1)) / 2;
  return Number(((up ? Math.ceil : Math.floor)(v / step) * step).toPrecision(6));
};

R.count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

R.duration = (s) => {
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${(s / 3600).toFixed(1)} h`;
};

// What a trial is, in words.
R.kind = (t) => {
  if (t.role === "reference") return t.status === "done" ? "parent" : `parent, ${t.status}`;
  if (t.status !== "done") return t.stopped ?? t.status;
  if (t.front) return "on the front";
  return t.feasible ? "dominated" : "beyond a threshold";
};
R.title = (t) => (t.role === "reference" ? t.label : `Trial ${t.n}`);

// The score of a trial on goal `i`; its number for `n`.
R.at = (t, i, split = "scores") => (i === "n" ? t.n : t[split]?.[i]?.[0] ?? null);

R.axisName = (i, up) => {
  if (i === "n") return "trial";
  const goal = R.goals[i];
  const arrow = up ? (goal.maximize ? "↑" : "↓") : goal.maximize ? "→" : "←";
  return `${goal.name}  ${arrow} better`;
};

// Chooses a trial, says so to screen readers and keeps it in the address.
R.choose = (n) => {
  const trial = R.byNumber.get(n);
  if (!trial) return;
  R.chosen = n;
  const scores = trial.scores ? R.goals.map((g, i) => `${g.name} ${R.score(trial.scores[i])}`) : [];
  R.byId("said").textContent = [R.title(trial), R.kind(trial), ...scores].join(", ");
  history.replaceState(null, "", `#trial=${n}`);
  R.emit("chosen");
};
