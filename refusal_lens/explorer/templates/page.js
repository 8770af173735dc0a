"use strict";
// The answers come as lines of JSON while they are generated. Text goes in as text; the one
// fragment of HTML, the readings, was escaped by the server.
const at = (id) => document.getElementById(id);
const form = at("ask"), edits = at("edits"), statusLine = at("status"), alertLine = at("message");
let running = null; // {abort, ticket} of the question that is being answered
let draws = 0;

function say(text) { statusLine.textContent = text; }

function complain(text) {
  alertLine.textContent = text;
  alertLine.hidden = !text;
}

function layersOf(row) {
  const option = row.elements.direction.selectedOptions[0];
  return option.dataset.layers.split(" ").map(Number);
}

function layerOf(row) { return layersOf(row)[Number(row.elements.layer.value)]; }

function show(row) {
  const { layer, strength, action } = row.elements;
  const tell = (slider, text) => {
    slider.nextElementSibling.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  tell(layer, `layer ${layerOf(row)}`);
  strength.disabled = action.value !== "add";
  tell(strength, strength.disabled ? "not used" : Number(strength.value).toFixed(1));
}

function fitLayers(row, wanted) {
  const layers = layersOf(row), slider = row.elements.layer;
  const gaps = layers.map((layer) => Math.abs(layer - wanted));
  slider.max = layers.length - 1;
  slider.value = gaps.indexOf(Math.min(...gaps));
  slider.dataset.layer = layers[slider.value];
  show(row);
}

function number() {
  for (const [i, row] of [...edits.children].entries()) {
    row.querySelector("legend").textContent = `Edit ${i + 1}`;
    row.elements.control.setAttribute("aria-label", `Edit ${i + 1}: answer also under a random direction of the same length`);
    row.elements.remove.setAttribute("aria-label", `Remove edit ${i + 1}`);
  }
}

function takeFreeDirection(row) {
  // The same addition twice is one edit of twice the strength, and the model refuses it.
  const used = [...edits.children].filter((other) => other !== row).map((other) => other.elements.direction.value);
  const free = [...row.elements.direction.options].find((option) => !used.includes(option.value));
  if (free) row.elements.direction.value = free.value;
}

function addEdit() {
  const row = at("edit").content.firstElementChild.cloneNode(true);
  if (edits.children.length >= Number(row.dataset.most)) {
    complain(`At most ${row.dataset.most} edits can act at once.`);
    return null;
  }
  edits.append(row);
  takeFreeDirection(row);
  fitLayers(row, Number(row.elements.layer.dataset.layer));
  row.addEventListener("input", (event) => {
    if (event.target.name === "direction") fitLayers(row, Number(row.elements.layer.dataset.layer));
    if (event.target.name === "layer") event.target.dataset.layer = layerOf(row);
    show(row);
  });
  row.elements.control.addEventListener("click", () => ask([...edits.children].indexOf(row)));
  row.elements.remove.addEventListener("click", () => {
    row.remove();
    number();
    at("add").focus();
  });
  number();
  return row;
}

function question(control) {
  const asked = [...edits.children].map((row) => ({
    action: row.elements.action.value,
    direction: Number(row.elements.direction.value),
    layer: layerOf(row),
    strength: Number(row.elements.strength.value),
    phase: row.elements.phase.value,
  }));
  const tokens = form.elements.tokens.value;
  const whole = { prompt: form.elements.prompt.value, tokens: Number(tokens), edits: asked };
  return control === undefined ? whole : { ...whole, control, draw: draws++ };
}

function column({ name, words }) {
  const article = document.createElement("article");
  const parts = { h3: name, p: words, div: "" };
  for (const [tag, text] of Object.entries(parts)) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (tag !== "h3") element.className = tag === "p" ? "words" : "answer";
    article.append(element);
  }
  return article;
}

const take = {
  ticket(event) { running.ticket = event.id; },
  waiting(event) {
    say(event.ahead ? `Waiting; questions to be answered first: ${event.ahead}.` : "Next in line.");
  },
  begun(event) {
    at("answers-heading").hidden = false;
    at("answers").replaceChildren(...event.columns.map(column));
    say("Generating the answers.");
  },
  answers(event) {
    const places = at("answers").querySelectorAll(".answer");
    event.texts.forEach((text, i) => { places[i].textContent = text; });
  },
  reading() { say("The answers are there and are being read."); },
  done(event) {
    if (event.stopped) say("Stopped. What was generated is shown; it was not read.");
    else {
      at("readings").innerHTML = event.html;
      say("Done: the answers and their readings are below.");
    }
  },
  error(event) {
    say("");
    complain(event.message);
    if (![...at("answers").querySelectorAll(".answer")].some((place) => place.textContent)) clear();
  },
};

function clear() {
  at("answers-heading").hidden = true;
  at("answers").replaceChildren();
  at("readings").replaceChildren();
}

function tooLong() {
  const prompt = form.elements.prompt, most = Number(prompt.dataset.longest);
  const n = [...prompt.value].length; // characters as the server counts them
  const words = (number) => number.toLocaleString("en");
  return n > most ? `The prompt has ${words(n)} characters; at most ${words(most)} can be asked.` : "";
}

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line) continue;
      const event = JSON.parse(line);
      take[event.kind](event);
    }
  }
}

function post(address, body) {
  const headers = { "Content-Type": "application/json" };
  return fetch(address, { method: "POST", headers, body: JSON.stringify(body) });
}

async function ask(control) {
  if (running) { say("An answer is being generated; stop it first."); return; }
  complain(tooLong());
  if (!alertLine.hidden) { say(""); return; }
  running = { ticket: null, stopping: false };
  clear();
  say("Asked.");
  try {
    const response = await post("ask", question(control));
    if (response.ok) await read(response);
    else { say(""); complain((await response.json()).message); }
  } catch (error) {
    say("");
    complain(`The explorer does not answer (${error.message}); is it still running?`);
  } finally { running = null; }
}

async function stop() {
  if (!running || !running.ticket) { say("Nothing to stop."); return; }
  say("Stopping.");
  await post(`stop/${running.ticket}`, {});
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
at("add").addEventListener("click", () => {
  const row = addEdit();
  if (row) row.elements.action.focus();
});
at("stop").addEventListener("click", stop);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) form.requestSubmit();
  else if (event.key === "Escape" && running) stop();
});
addEdit();
