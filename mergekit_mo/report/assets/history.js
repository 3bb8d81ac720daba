// Hypervolume as the search went on, beside what the parents alone are worth.

R.progressState = { by: "count" };

R.progressBuild = (c) => {
  const rows = R.facts.history;
  if (!R.goals.some((g) => g.anchored)) {
    return { why: "No hypervolume: the parents do not differ on any goal (or none could be scored), so there is no scale to measure it on." };
  }
  if (!rows.length) return { why: "No hypervolume yet: no merge has been scored." };
  const { by } = R.progressState;
  const longest = Math.max(...rows.map((row) => row[by === "work" ? 1 : 2]));
  const [unit, size] = longest > 5400 ? ["hours", 3600] : longest > 90 ? ["minutes", 60] : ["seconds", 1];
  const x = (row, k) => (by === "count" ? k + 1 : row[by === "work" ? 1 : 2] / size);
  const names = { count: "merges tried", work: `${unit} of merging and scoring`, clock: `${unit} since the start` };
  const baseline = R.facts.volumes.search?.parents;
  const data = rows.map((row, k) => ({ n: row[0], value: [x(row, k), row[3]] }));
  const failed = data.filter((p) => R.byNumber.get(p.n).status === "failed");
  const series = [
    { type: "line", step: "end", data, symbol: "circle", symbolSize: data.length > 120 ? 3 : 6, showAllSymbol: true,
      lineStyle: { color: c.front, width: 2.5 }, itemStyle: { color: c.front }, cursor: "pointer",
      markLine: baseline === undefined ? undefined : {
        silent: true, symbol: "none", data: [{ yAxis: baseline }], lineStyle: { color: c.parent, type: "dashed", width: 2 },
        label: { formatter: `parents ${R.number(baseline)}`, color: c.parent, position: "insideEndBottom", fontSize: 13 } } },
    { type: "scatter", symbol: "triangle", symbolSize: 10, data: failed, itemStyle: { color: "transparent", borderColor: c.bad, borderWidth: 1.5 }, z: 4 },
  ];
  const chosen = data.find((p) => p.n === R.chosen);
  if (chosen) series.push({ type: "scatter", silent: true, symbolSize: 20, data: [chosen], itemStyle: { color: "transparent", borderColor: c.chosen, borderWidth: 3.5 }, z: 5 });
  const last = data.at(-1).value[1];
  const option = {
    grid: { left: 12, right: 24, top: 34, bottom: 34, containLabel: true },
    xAxis: R.across(c, names[by], { scale: by === "count", min: by === "count" ? undefined : 0, minInterval: by === "count" ? 1 : 0 }),
    yAxis: R.upward(c, "hypervolume", { min: R.lowest([baseline ?? 0, ...data.map((p) => p.value[1])]) }),
    series,
  };
  const label = `Hypervolume over ${names[by]}: ${R.number(last)} after ${R.count(rows.length, "merge")}` +
    (baseline === undefined ? "" : `; the parents alone have ${R.number(baseline)}`);
  return { option, label };
};

// Where an axis begins that need not begin at zero, but must show the baseline.
R.lowest = (values) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low > 0.4 * high ? Math.max(0, R.round(low - 0.1 * (high - low), high - low || high, false)) : 0;
};

R.progressHint = () => {
  const { search, holdout } = R.facts.volumes;
  const words = [];
  if (search) words.push(`Search items: front ${R.number(search.front)}, parents ${R.number(search.parents)}.`);
  if (holdout) words.push(`Hold-out items: front ${R.number(holdout.front)}, parents ${R.number(holdout.parents)}.`);
  else if (search) words.push("The hold-out is opened when the search has ended.");
  const left = R.goals.filter((g) => !g.anchored).map((g) => g.name);
  if (search && left.length) words.push(`Left out, as the parents do not differ on it: ${left.join(", ")}.`);
  words.push("On each goal 0 is the worst parent and 1 the best; volume is measured from -0.1, fixed before the first merge. Triangles are failed merges.");
  R.byId("progress-hint").textContent = words.join(" ");
};

R.progressStart = () => {
  const options = [["count", "merges tried"], ["work", "merging and scoring time"], ["clock", "clock"]];
  R.fill("progress-controls", R.picker("over", options, R.progressState.by, (by) => { R.progressState.by = by; view.draw(); }));
  const view = R.chart("progress-chart", R.progressBuild, { onclick: R.choose });
  R.on("facts", R.progressHint);
  R.progressHint();
};
