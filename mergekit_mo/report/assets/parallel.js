// Parallel coordinates: every merge as a line across its holes and its goals.

R.MOST_AXES = 14;
R.parallelState = { which: "mattered", others: true };

// The holes that are drawn: all of them, or those that mattered most.
R.parallelHoles = () => {
  const all = R.facts.columns.map((_, i) => i);
  if (R.parallelState.which === "all" || all.length <= R.MOST_AXES) return all;
  const weight = R.importanceOf("mean");
  const order = weight ? [...all].sort((a, b) => weight[b] - weight[a]) : all;
  return order.slice(0, R.MOST_AXES).sort((a, b) => a - b);
};

// A name on up to three lines that are about as wide as the space between two axes.
R.wrapped = (name, room) => {
  const most = Math.max(6, Math.floor(room / 6.6));
  const lines = [];
  for (const word of name.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  const cut = (line) => (line.length > most ? `${line.slice(0, most - 1)}…` : line);
  return (lines.length > 3 ? [...lines.slice(0, 2), `${lines[2]}…`] : lines).map(cut).join("\n");
};

R.parallelAxes = (c, holes, room) => {
  const look = {
    nameTextStyle: { color: c.text, fontSize: 12, lineHeight: 14 }, nameGap: 10,
    axisLine: { lineStyle: { color: c.soft } }, axisTick: { lineStyle: { color: c.soft } },
    axisLabel: { color: c.soft, fontSize: 11, formatter: R.number, textBorderColor: c.ground, textBorderWidth: 2 },
    areaSelectStyle: { color: c.chosen, borderColor: c.chosen, opacity: 0.25 },
  };
  const axes = holes.map((i, dim) => {
    const hole = R.facts.columns[i];
    if (hole.choices.length) return { ...look, dim, name: R.wrapped(hole.name, room), type: "category", data: hole.choices };
    return { ...look, dim, name: R.wrapped(hole.name, room), type: hole.log ? "log" : "value", min: hole.low, max: hole.high };
  });
  R.goals.forEach((goal, g) => {
    axes.push({
      ...look, dim: holes.length + g, name: R.wrapped(goal.name, room), type: "value", scale: true, inverse: !goal.maximize, nameLocation: goal.maximize ? "end" : "start",
      nameTextStyle: { ...look.nameTextStyle, fontWeight: "bold", color: c.front },
    });
  });
  return axes;
};

R.parallelBuild = (c) => {
  const able = R.done.filter((t) => t.values && t.scores.every((s) => s && s[0] !== null));
  if (!able.length) return { why: R.done.length ? "The archive does not tell these merges' holes." : R.nothingScored() };
  if (!R.facts.columns.length) return { why: "The archive does not tell this run's holes." };
  const holes = R.parallelHoles();
  const count = holes.length + R.goals.length;
  const narrow = innerWidth < 700;
  const width = count * (narrow ? 92 : 84);
  const whole = Math.max(width, R.byId("parallel-chart").parentElement.clientWidth);
  const axes = R.parallelAxes(c, holes, Math.min(150, (whole - 112) / Math.max(count - 1, 1) - 6));
  const row = (t) => ({ n: t.n, value: [...holes.map((i) => t.values[i]), ...t.scores.map((s) => s[0])] });
  const lines = (trials, ink, opacity, width, z) => ({
    type: "parallel", data: trials.map(row), lineStyle: { color: ink, opacity, width }, z, progressive: 0,
    inactiveOpacity: 0.02, activeOpacity: Math.max(opacity, 0.5), cursor: "pointer", smooth: false,
    emphasis: { lineStyle: { width: width + 1.5, opacity: 1 } },
  });
  const others = R.parallelState.others ? able.filter((t) => !t.front) : [];
  const chosen = able.filter((t) => t.n === R.chosen);
  const option = {
    parallel: { left: 52, right: 60, top: 66, bottom: R.goals.some((g) => !g.maximize) ? 44 : 20, axisExpandable: false },
    parallelAxis: axes,
    series: [
      lines(others, c.other, others.length > 200 ? 0.12 : 0.3, 1, 1),
      lines(able.filter((t) => t.front), c.front, 0.75, 1.8, 2),
      lines(chosen, c.chosen, 1, 4, 3),
    ],
  };
  const label = `Parallel coordinates of ${R.count(able.length, "merge")} over ${R.count(holes.length, "hole")} and ` +
    `${R.count(R.goals.length, "goal")}; better is up on every goal. The same figures stand in the table and in a trial's details.`;
  return { option, label, height: 400, width };
};

R.parallelStart = () => {
  const view = R.chart("parallel-chart", R.parallelBuild, { onclick: R.choose, events: ["chosen", "learnt"] });
  const controls = () => {
    const many = R.facts.columns.length > R.MOST_AXES;
    const options = [["mattered", `the ${R.MOST_AXES} that mattered most`], ["all", `all ${R.facts.columns.length}`]];
    R.fill(
      "parallel-controls",
      many ? R.picker("holes", options, R.parallelState.which, (v) => { R.parallelState.which = v; view.draw(); }) : null,
      R.tick("other merges", R.parallelState.others, (on) => { R.parallelState.others = on; view.draw(); }),
    );
  };
  controls();
  R.byId("parallel-hint").textContent =
    "Front in colour; goals stand on the right, in bold, with better always up. Drag along an axis to keep only the lines that pass there; click the axis to let go." +
    (R.facts.columns_are_holes ? "" : " This archive does not tell its holes, so coordinates of the search's unit cube are drawn.");
};
