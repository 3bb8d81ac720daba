// The surrogate's check: every trial as the others predict it, with 95 % intervals.

R.checkGoal = () => (R.matteredState.goal === "mean" ? 0 : Number(R.matteredState.goal));

R.checkBuild = (c) => {
  if (!R.learnt) return { why: R.live ? "A surrogate is being fitted…" : "Nothing was learnt of this run." };
  const goal = R.checkGoal();
  const found = R.learnt.goals[goal];
  if (!found?.check) return { why: R.learntWhy() };
  const rows = found.check.rows;
  const points = rows.map(([mean, half, seen], k) => ({ n: R.learnt.numbers[k], value: [mean, seen], half }));
  const ends = rows.flatMap(([mean, , seen]) => [mean, seen]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const margin = 0.05 * (high - low || 1);
  const bounds = { min: R.round(low - margin, high - low, false), max: R.round(high + margin, high - low, true) };
  const series = [
    { type: "line", silent: true, symbol: "none", lineStyle: { color: c.soft, type: "dashed", width: 1.5 }, data: [[bounds.min, bounds.min], [bounds.max, bounds.max]] },
    R.errorBars(points.map((p) => ({ x: p.value[0], y: p.value[1], ex: p.half, ey: 0 })), c.other),
    { type: "scatter", data: points, symbolSize: 8, itemStyle: { color: c.front, opacity: 0.85 }, cursor: "pointer" },
  ];
  const chosen = points.filter((p) => p.n === R.chosen);
  if (chosen.length) series.push({ type: "scatter", silent: true, symbolSize: 20, data: chosen, itemStyle: { color: "transparent", borderColor: c.chosen, borderWidth: 3.5 } });
  const option = {
    grid: { left: 12, right: 24, top: 34, bottom: 34, containLabel: true },
    xAxis: R.across(c, `${R.goals[goal].name}, predicted without the trial`, bounds),
    yAxis: R.upward(c, "observed", bounds),
    series,
  };
  const { inside, explained } = found.check;
  const label = `Predicted against observed ${R.goals[goal].name}: ${inside} of ${rows.length} inside their 95 % intervals, ` +
    `${Math.round(100 * explained)} % of the variance explained`;
  return { option, label };
};

R.checkHint = () => {
  const goal = R.checkGoal();
  const found = R.learnt?.goals[goal]?.check;
  if (!found) {
    R.byId("check-hint").textContent = "";
    return;
  }
  const count = found.rows.length;
  const share = Math.round((100 * found.inside) / count);
  const verdict = found.explained < 0.3 ? " That is little: do not lean on the importance." : "";
  const old = R.learnt.finished < R.done.length ? ` Fitted when ${R.count(R.learnt.finished, "merge")} had been scored; reload for all.` : "";
  const some = count < R.learnt.finished ? ` Fitted to ${count} of ${R.learnt.finished} merges, the front among them.` : "";
  R.byId("check-hint").textContent =
    `${R.goals[goal].name}: ${found.inside} of ${count} (${share} %) lie inside their 95 % intervals; ` +
    `${Math.round(100 * found.explained)} % of the variance is explained, each trial left out once.${verdict}${some}${old} ` +
    "The hyperparameters were fitted with all trials, so the check is a little kind; far outliers on the worse side are drawn in, as the optimizer sees them.";
};

R.checkStart = () => {
  R.chart("check-chart", R.checkBuild, { onclick: R.choose, events: ["chosen", "learnt", "mattered"] });
  ["learnt", "mattered", "facts"].forEach((event) => R.on(event, R.checkHint));
  R.checkHint();
};
