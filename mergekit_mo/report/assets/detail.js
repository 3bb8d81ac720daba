// The chosen trial: its scores beside the best parent's (named by its tooltip), its holes, its path, its YAML to copy.

R.textOf = (n) => {
  const { lines, of } = R.facts.texts;
  return of[n] ? of[n].map((i) => lines[i]).join("\n") + "\n" : null;
};

// The best parent's score on a goal.
R.bestParent = (i) => {
  const sign = R.goals[i].maximize ? 1 : -1;
  const known = R.parents.filter((t) => R.at(t, i) !== null);
  return known.reduce((best, t) => (!best || sign * R.at(t, i) > sign * R.at(best, i) ? t : best), null);
};

// A gain over the best parent, [gain, low, high]; more is better.
R.gain = ([gain, low, high]) => {
  const value = (gain > 0 ? "+" : "") + R.number(gain);
  if (!R.known(low)) return value;
  return `${value} ${R.ends(low, high)}${low <= 0 && high >= 0 && low < high ? " not significant" : ""}`;
};

R.detailScores = (t) => {
  const held = Boolean(t.holdout);
  const gains = R.facts.gains?.trials[t.n];
  const head = ["goal", "search", ...(held ? ["hold-out"] : []), "parent", ...(gains ? ["gain, hold-out"] : [])];
  const rows = R.goals.map((goal, i) => {
    const best = R.bestParent(i);
    const gain = best && (goal.maximize ? 1 : -1) * (R.at(t, i) - R.at(best, i));
    const tone = gain > 0 ? "better" : gain < 0 ? "worse" : "";
    const beside = best ? R.el("span", { title: best.label }, R.number(R.at(best, i)), tone ? R.el("span", { class: tone }, tone === "better" ? " ▲" : " ▼") : "") : "–";
    const bound = goal.threshold === null ? "" : ` (${goal.maximize ? "at least" : "at most"} ${R.number(goal.threshold)})`;
    return R.el("tr", {}, R.el("td", {}, R.el("bdi", {}, goal.name), ` ${goal.maximize ? "↑" : "↓"}${bound}`), R.el("td", {}, R.score(t.scores[i])),
      held ? R.el("td", {}, R.score(t.holdout[i])) : null, R.el("td", {}, beside),
      gains ? R.el("td", {}, R.gain(gains[i])) : null);
  });
  const note = "Brackets are 95 % intervals, of each score by itself" + (gains
    ? `; those of gains over the best parent hold for all ${R.facts.gains.count} of the front at once.` : ".");
  return R.el("div", { class: "scroll" }, R.el("p", { class: "hint" }, note), R.el("table", {}, R.el("thead", {}, R.el("tr", {}, ...head.map((h) => R.el("th", { scope: "col" }, h)))), R.el("tbody", {}, ...rows)));
};

R.detailHoles = (t) => {
  if (!t.values) return null;
  const rows = R.facts.columns.map((hole, i) => R.el("tr", {}, R.el("td", {}, R.el("bdi", {}, hole.name)), R.el("td", {}, R.number(t.values[i]))));
  return R.el("details", { open: rows.length <= 6 }, R.el("summary", {}, R.count(rows.length, "hole")), R.el("table", {}, R.el("tbody", {}, ...rows)));
};

R.quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);

R.detailText = (t) => {
  const text = R.textOf(t.n);
  const run = R.quoted(R.facts.folder);
  if (text === null) return R.el("p", { class: "hint" }, "Its YAML has no room on this page; print it with ", R.el("code", {}, `mergekit-mo pick ${run} --trial ${t.n}`));
  const said = R.el("span", { class: "soft", role: "status" });
  const pre = R.el("pre", { tabindex: "0", id: "yaml", "aria-label": "mergekit configuration" }, text);
  const copy = R.el("button", { type: "button", id: "copy", onclick: async () => { said.textContent = (await R.copy(text, pre)) ? "copied" : "selected: press Ctrl-C"; } }, "Copy YAML");
  return R.el("div", {}, R.el("div", { class: "actions" }, copy, said), pre);
};

// Copies a text; where the browser forbids it, selects it for the user to copy.
R.copy = async (text, pre) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(pre);
    return document.execCommand("copy");
  }
};

R.detail = () => {
  const t = R.byNumber.get(R.chosen);
  const key = JSON.stringify([t, R.parents.length, t && R.textOf(t.n)]);
  if (key === R.detailKey) return;  // an update must not take it out of a reader's hands
  R.detailKey = key;
  if (!t) {
    R.fill("detail", R.el("h2", {}, "Choose a merge"), R.el("p", { class: "soft" }, "Click a point of the front, a line or a row: here are then its scores, its holes and its YAML."));
    return;
  }
  const held = document.activeElement.id;
  const tone = t.role === "reference" ? "reference" : t.front ? "front" : t.status === "done" && t.feasible ? "" : "bad";
  const run = R.quoted(R.facts.folder);
  R.fill(
    "detail",
    R.el("h2", {}, R.el("bdi", {}, R.title(t))),
    R.el("p", {}, R.el("span", { class: `mark ${tone}` }, R.kind(t)), R.el("span", { class: "soft" },
      t.role === "reference" ? "" : `proposed by ${t.origin}`, t.seconds === null ? "" : `, ${R.duration(t.seconds)}`)),
    t.role === "reference" ? R.el("p", { class: "soft" }, R.el("bdi", {}, t.origin)) : null,
    t.scores ? R.detailScores(t) : null,
    t.error ? R.el("pre", { tabindex: "0" }, t.error) : null,
    t.path ? R.el("p", {}, R.el("b", {}, "Path: "), R.el("bdi", {}, t.path)) : null,
    R.detailHoles(t),
    R.detailText(t),
    t.role === "candidate" && t.status === "done" ? R.el("p", { class: "hint" }, "Write its model: ", R.el("code", {}, `mergekit-mo merge ${run} ${t.n} OUT`)) : null,
  );
  if (held === "yaml" || held === "copy") R.byId(held)?.focus({ preventScroll: true });
};

R.detailStart = () => {
  R.on("chosen", R.detail);
  R.on("facts", R.detail);
  R.byId("detail").addEventListener("keydown", (event) => event.key === "Escape" && R.byId("front-chart").focus());
  R.detail();
};
