// Which holes mattered, by what a surrogate learnt: one by one, or by model, parameter, layers, tensors.

R.matteredState = { goal: "mean", by: "hole" };
R.KINDS = { hole: "hole", model: "model", parameter: "parameter", layers: "layers", tensors: "tensors" };

// Importance of each hole on a goal, or the mean over the goals; null where it is not known.
R.importanceOf = (goal, pick = (found) => found.holes) => {
  const known = (R.learnt?.goals ?? []).filter((g, i) => (goal === "mean" || goal === String(i)) && g.importance);
  if (!known.length) return null;
  const lists = known.map((g) => pick(g.importance));
  return lists[0].map((_, k) => lists.reduce((sum, list) => sum + list[k], 0) / lists.length);
};

// The bars: [name, value], the largest first.
R.matteredRows = () => {
  const { goal, by } = R.matteredState;
  let names = R.facts.columns.map((column) => column.name);
  let pick = (found) => found.holes;
  if (by !== "hole") {
    const known = R.learnt?.goals.find((g) => g.importance);
    names = Object.keys(known?.importance.groups[by] ?? {});
    pick = (found) => names.map((name) => found.groups[by][name]);
  }
  const values = R.importanceOf(goal, pick);
  return values && names.map((name, i) => [name, values[i]]).sort((a, b) => b[1] - a[1]);
};

R.MOST_BARS = 20;

R.matteredBuild = (c) => {
  if (!R.learnt) return { why: R.live ? "A surrogate is being fitted…" : "Nothing was learnt of this run." };
  const rows = R.matteredRows();
  if (!rows) return { why: R.learntWhy() };
  const shown = rows.slice(0, R.MOST_BARS).reverse();
  const option = {
    grid: { left: 8, right: 56, top: 8, bottom: 34, containLabel: true },
    xAxis: R.across(c, "share of the surrogate's variance", { min: 0, scale: false }),
    yAxis: R.axis(c, {
      type: "category", data: shown.map((row) => row[0]), splitLine: { show: false },
      axisLabel: { color: c.text, width: 150, overflow: "truncate" },
    }),
    series: [{
      type: "bar", data: shown.map((row) => row[1]), barMaxWidth: 18, itemStyle: { color: c.front },
      label: { show: true, position: "right", color: c.soft, formatter: (p) => `${Math.round(100 * p.value)} %` },
    }],
    tooltip: { show: false },
  };
  const words = shown.slice(-5).reverse().map((row) => `${row[0]} ${Math.round(100 * row[1])} %`);
  return { option, label: `Importance: ${words.join(", ")}`, height: Math.max(150, 60 + 26 * shown.length) };
};

// Why nothing is said on the goal at hand.
R.learntWhy = () => {
  const { goal } = R.matteredState;
  const found = R.learnt.goals[goal === "mean" ? 0 : Number(goal)];
  return `Nothing can be said: ${found?.why ?? "the surrogate sees no effect of any hole"}.`;
};

R.matteredHint = () => {
  if (!R.learnt) return;
  const rows = R.matteredRows();
  const more = rows && rows.length > R.MOST_BARS ? `The first ${R.MOST_BARS} of ${rows.length}. ` : "";
  const used = R.learnt.numbers.length;
  const few = used && used < 2 * (R.facts.columns.length + 1)
    ? `Only ${R.count(used, "trial")} for ${R.count(R.facts.columns.length, "hole")}: take it for a hint. ` : "";
  R.byId("mattered-hint").textContent = !rows ? "" : more + few +
    "Total-order Sobol indices of a Gaussian process over the whole box of the search: how much of its variance goes through a hole, alone or together with " +
    "others, so the bars can add up to more than 100 %. It is worth as much as the check beside it.";
};

R.matteredStart = () => {
  const controls = () => {
    const known = R.learnt?.goals.find((g) => g.importance);
    const kinds = ["hole", ...Object.keys(known?.importance.groups ?? {})];
    const goals = [["mean", R.goals.length > 1 ? "all goals (mean)" : R.goals[0].name]];
    if (R.goals.length > 1) goals.push(...R.goals.map((g, i) => [String(i), g.name]));
    const set = (key) => (value) => { R.matteredState[key] = value; R.emit("mattered"); };
    R.fill(
      "mattered-controls",
      R.picker("goal", goals, R.matteredState.goal, set("goal")),
      kinds.length > 1 ? R.picker("by", kinds.map((k) => [k, R.KINDS[k]]), R.matteredState.by, set("by")) : null,
    );
  };
  R.chart("mattered-chart", R.matteredBuild, { events: ["learnt", "mattered"] });
  R.on("learnt", controls);
  ["learnt", "mattered"].forEach((event) => R.on(event, R.matteredHint));
  controls();
  R.matteredHint();
};
