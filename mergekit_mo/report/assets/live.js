// Follows a running search: asks the server that the page came from, and nobody else.

R.POLL = 2000;

R.follow = async () => {
  const said = R.byId("live");
  try {
    const answer = await fetch("/facts.json", { headers: R.mark ? { "If-None-Match": R.mark } : {}, cache: "no-store" });
    if (answer.status === 200) {
      R.mark = answer.headers.get("ETag");
      const facts = await answer.json();
      const before = R.done.length;
      R.take(facts);
      R.emit("facts");
      if (R.done.length !== before) R.askLearnt();
    } else if (answer.status !== 304) throw new Error(await answer.text());
    said.classList.remove("gone");
    said.textContent = `live, ${new Date().toLocaleTimeString()}`;
  } catch {
    said.classList.add("gone");
    said.textContent = "not live: no answer";
  }
  setTimeout(R.follow, R.POLL);
};

// What was learnt takes seconds to make, so it is asked for on its own, and not for every trial.
R.askLearnt = async () => {
  const stale = !R.learnt || R.done.length >= 1.2 * Math.max(R.learnt.finished, 5);
  if (!stale || R.asking) return;
  R.asking = true;
  try {
    const answer = await fetch("/learnt.json", { cache: "no-store" });
    if (answer.ok) {
      R.learnt = await answer.json();
      R.emit("learnt");
    }
  } catch {
    // The next trial asks again.
  } finally {
    R.asking = false;
  }
};
