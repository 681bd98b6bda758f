// Sends the chosen file, asks for the state of its job, and shows its page.
"use strict";
const at = id => document.getElementById(id);
const STEPS = {
  "": "Starting",
  preprocessing: "Finding the brain, correcting the intensities, registering to the template",
  networks: "Applying the networks",
  drawing: "Drawing the page",
};
if (at("form").dataset.native) STEPS.preprocessing = "Finding the foreground, sampling it on the model's grid";
const PLACES = ["", "preprocessing", "networks", "drawing"];
const POLL_MS = 500;
let job = null;

function say(text, state) {
  at("status").textContent = text;
  at("status").dataset.state = state;
  at("status").className = state === "problem" ? "problem" : "";
  at("bar").hidden = !["uploading", "waiting", "running"].includes(state);
  at("start").disabled = !at("bar").hidden;
}

async function answerOf(response) {
  const answer = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Error(answer.error ?? `The server answered with ${response.status}.`);
  return answer;
}

async function send(file) {
  const most = Number(at("form").dataset.maxMb);
  if (file.size > most * 1e6) throw new Error(`The file has ${Math.ceil(file.size / 1e6)} MB; the limit is ${most} MB (--max-mb).`);
  const known = new URLSearchParams({name: file.name, age: at("age").value, sex: at("sex").value});
  const headers = {"Content-Type": "application/octet-stream"};
  return (await answerOf(await fetch(`/scans?${known}`, {method: "POST", headers, body: file}))).job;
}

async function finished(name) {
  for (;;) {
    const found = await answerOf(await fetch(`/scans/${name}`));
    if (found.state === "failed") throw new Error(found.message);
    if (found.state === "done") return found.done;
    if (found.state === "waiting") {
      at("bar").removeAttribute("value");
      say(`Waiting: ${found.ahead} ${found.ahead === 1 ? "scan" : "scans"} before this one`, "waiting");
    } else {
      at("bar").value = PLACES.indexOf(found.step) + 0.5;
      say(`${STEPS[found.step] ?? found.step} (${Math.round(found.seconds)} s)`, "running");
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
  }
}

function show(name, done) {
  const folder = `/results/${name}/`;
  at("frame").src = at("alone").href = folder + done.page;
  at("table").href = folder + "predictions.tsv";
  at("record").href = folder + "predictions.json";
  at("map").hidden = !done.label_map;
  if (done.label_map) at("map").href = folder + done.label_map;
  at("result").hidden = false;
  at("result").scrollIntoView();
  if (done.status === "predicted") say(`Done in ${done.seconds.toFixed(1)} s.`, "done");
  else say(`No prediction. ${done.reason}`, "problem");
}

at("form").addEventListener("submit", async event => {
  event.preventDefault();
  at("result").hidden = true;
  at("frame").removeAttribute("src");
  at("bar").removeAttribute("value");
  say("Uploading", "uploading");
  try {
    job = await send(at("file").files[0]);
    show(job, await finished(job));
  } catch (error) {
    say(error instanceof TypeError ? "The server can't be reached, or refused the file before reading it." : error.message, "problem");
  }
});

at("delete").addEventListener("click", async () => {
  try {
    await answerOf(await fetch(`/scans/${job}`, {method: "DELETE"}));
    at("result").hidden = true;
    at("frame").removeAttribute("src");
    say("The results are deleted.", "deleted");
  } catch (error) {
    say(error.message, "problem");
  }
});
