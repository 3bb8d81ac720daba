// How the searched parameters run over depth in the front's members: gradients, slices and filters.

R.depthState = { key: null };

// The pairs of parameter and tensors that there are, as one text each.
R.depthKeys = () => {
  const keys = new Map();
  for (const lines of Object.values(R.facts.depth.trials)) {
    for (const [parameter, tensors] of lines) keys.set(JSON.stringify([parameter, tensors]), [parameter, tensors]);
  }
  return keys;
};

R.depthBuild = (c) => {
  const { varies, trials } = R.facts.depth;
  const keys = R.depthKeys();
  if (!Object.keys(trials).length) return { why: "Nothing to draw: no merge has been scored." };
  if (!keys.size) return { why: "This recipe searches nothing that runs over depth." };
  if (!varies) {
    return { why: "This recipe gives all layers the same values, so there is nothing to draw over depth. A list makes a gradient: value: [0.5, 0.5, 0.5]; a filter makes groups of tensors." };
  }
  if (!keys.has(R.depthState.key)) R.depthState.key = keys.keys().next().value;
  const [parameter, tensors] = keys.get(R.depthState.key);
  const own = (n) => (trials[n] ?? []).filter((line) => line[0] === parameter && line[1] === tensors);
  const models = [...new Set(Object.keys(trials).flatMap((n) => own(n).map((line) => line[2])))];
  const inks = R.series(R.dark());
  const ink = (model) => inks[models.indexOf(model) % inks.length];
  const chosen = own(String(R.chosen)).length ? String(R.chosen) : null;
  const members = Object.keys(trials);
  const series = members.flatMap((n) =>
    own(n).map(([, , model, points]) => {
      const bold = n === chosen;
      return {
        type: "line", name: model, data: points.map((p) => ({ n: Number(n), value: p })), connectNulls: false,
        symbol: "circle", symbolSize: bold ? 8 : 5, z: bold ? 5 : 2, cursor: "pointer", triggerLineEvent: true,
        lineStyle: { color: ink(model), width: bold ? 4 : 1.4, opacity: bold ? 1 : chosen ? 0.25 : 0.6, type: ["solid", "dashed", "dotted"][Math.floor(models.indexOf(model) / inks.length) % 3] },
        itemStyle: { color: ink(model), opacity: bold ? 1 : chosen ? 0.25 : 0.6 },
        endLabel: { show: bold || members.length === 1, formatter: model, color: c.text },
      };
    }),
  );
  R.fill("depth-legend", ...models.map((model) => R.el("span", { class: "soft" },
    R.el("span", { class: "swatch", style: `display:inline-block;background:${ink(model)}`, "aria-hidden": true }), " ", R.el("bdi", {}, model))));
  const option = {
    grid: { left: 12, right: 110, top: 34, bottom: 34, containLabel: true },
    xAxis: R.across(c, "relative depth: 0 the first layer, 1 the last", { min: 0, max: 1, scale: false }),
    yAxis: R.upward(c, tensors === "all" ? parameter : `${parameter} of ${tensors}`),
    series,
  };
  const label = `${parameter} over relative depth for ${R.count(members.length, "merge")} of the front, by model: ${models.join(", ")}` +
    (chosen ? `; trial ${chosen} is drawn bold` : "");
  return { option, label };
};

R.depthStart = () => {
  const view = R.chart("depth-chart", R.depthBuild, { onclick: R.choose });
  const controls = () => {
    const keys = R.depthKeys();
    const options = [...keys].map(([key, [parameter, tensors]]) => [key, tensors === "all" ? parameter : `${parameter} of ${tensors}`]);
    R.fill(
      "depth-controls",
      R.facts.depth.varies && options.length > 1
        ? R.picker("parameter", options, R.depthState.key ?? options[0][0], (key) => { R.depthState.key = key; view.draw(); }) : null,
      R.el("span", { id: "depth-legend", class: "controls" }),
    );
    R.byId("depth-hint").textContent = !R.facts.depth.varies ? "" :
      "Each line is one model in one member of the front; the chosen trial is bold. Anchors of a gradient are evenly spaced and joined straight, as mergekit does it.";
  };
  R.on("facts", controls);
  controls();
};
