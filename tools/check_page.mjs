// check_page.mjs - the chat page of a running `glia serve`: its functions, and the page in headless Chromium.
//
//   node tools/check_page.mjs http://127.0.0.1:8000 [chromium [screenshot.png]]
//
// Without a browser only the functions are checked, in Node. The model should be models/qwen3-demo. Prints one
// line for each check and exits with status 1 if one fails.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import vm from "node:vm";

const [base, browser, screenshot] = process.argv.slice(2);
let failed = 0;

function check(name, good, found) {
  console.log((good ? "ok      " : "FAILED  ") + name + (good ? "" : ": " + JSON.stringify(found)));
  if (!good) failed++;
}

/* ---- functions: name, expression, value ---------------------------------------------------------- */

const stream = 'data: {"a":"\\u00e9"}\n\n: ping\n\ndata: {"b":2}\r\n\r\nevent: x\ndata: [DONE]\n\n';
const units = [
  ["events do not depend on the cuts",
    `[...Array(${JSON.stringify(stream)}.length).keys()].every((i) => { const r = new EventReader(), s = ${JSON.stringify(stream)};
       return r.push(s.slice(0, i)).concat(r.push(s.slice(i))).join("|") === '{"a":"\\\\u00e9"}|{"b":2}|[DONE]'; })`, true],
  ["chunks become a turn",
    `(() => { const t = {};
       for (const d of [{ role: "assistant", content: "" }, { reasoning: "a", reasoning_content: "a" }, { reasoning: "b" }, { content: "c" },
                        { tool_calls: [{ index: 0, id: "1", function: { name: "f", arguments: "{" } }] }, { tool_calls: [{ index: 0, function: { arguments: "}" } }] }])
         addChunk(t, { choices: [{ delta: d }] });
       addChunk(t, { choices: [{ delta: {}, finish_reason: "tool_calls" }] });
       return [t.reasoning, t.content, t.tool_calls[0].function.name, t.tool_calls[0].function.arguments, t.finish].join(); })()`,
    "ab,c,f,{},tool_calls"],
  ["an error in a stream is thrown", `(() => { try { addChunk({}, { error: { message: "no" } }); } catch (e) { return e.message; } })()`, "no"],
  ["code is cut out", 'JSON.stringify(splitCode("a\\n```c\\nint x;\\n```\\nb\\n```\\nopen"))',
    '[{"code":false,"text":"a"},{"code":true,"text":"int x;"},{"code":false,"text":"b"},{"code":true,"text":"open"}]'],
  ["settings become fields",
    `JSON.stringify(requestBody({ system: "s", temperature: "0.5", max_tokens: null, thinking: "off", tools: "[]", extra: '{"min_tokens":3}' }, "m", [{ role: "user", content: "u" }]))`,
    '{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"stream":true,"stream_options":{"include_usage":true},"temperature":0.5,"chat_template_kwargs":{"enable_thinking":false},"tools":[],"min_tokens":3}'],
  ["calls and results go back",
    `JSON.stringify(sentMessages({}, [{ role: "assistant", content: "", reasoning: "r", usage: {}, tool_calls: [1] }, { role: "tool", tool_call_id: "1", content: "x" }, { role: "assistant", content: "", wrong: "w" }]))`,
    '[{"role":"assistant","content":"","reasoning":"r","tool_calls":[1]},{"role":"tool","content":"x","tool_call_id":"1"}]'],
  ["a setting that is no JSON is named", `(() => { try { requestBody({ tools: "{" }, "m", []); } catch (e) { return e.message.slice(0, 29); } })()`, "The setting tools is not JSON"],
  ["errors of each form", `[errorText(401, '{"error":"Unauthorized"}'), errorText(400, '{"error":{"message":"m"}}'), errorText(502, "<html>")].join("|")`, "401: Unauthorized|400: m|502: <html>"],
];

const page = await (await fetch(base + "/")).text();

function checkInNode() {
  const context = vm.createContext({ TextDecoder });
  vm.runInContext(page.match(/<script>([^]*)<\/script>/)[1] + "\n;globalThis.EventReader = EventReader;", context);
  for (const [name, code, want] of units) {
    const found = vm.runInContext(code, context);
    check("function: " + name, found === want, found);
  }
}

/* ---- the browser, over a pipe ---------------------------------------------------------------------- */

function start(program, dir) {
  const child = spawn(program, ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir=" + dir, "about:blank"],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const waiting = new Map(), listeners = [];
  let rest = "", id = 0;
  child.stdio[4].on("data", (bytes) => {
    const messages = (rest + bytes).split("\0");
    rest = messages.pop();
    for (const text of messages) {
      const m = JSON.parse(text);
      if (m.id) waiting.get(m.id)(m); else listeners.forEach((l) => l(m));
    }
  });
  const send = (method, params = {}, sessionId) => new Promise((done, fail) => {
    waiting.set(++id, (m) => m.error ? fail(new Error(method + ": " + m.error.message)) : done(m.result));
    child.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  });
  return { child, send, on: (l) => listeners.push(l) };
}

async function openPage(chrome) {
  const urls = [], wrong = [];
  const { targetId } = await chrome.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await chrome.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => chrome.send(method, params, sessionId);
  chrome.on((m) => {
    if (m.method === "Network.requestWillBeSent") urls.push(m.params.request.url);
    if (m.method === "Runtime.exceptionThrown") wrong.push(m.params.exceptionDetails.text);
    if (m.method === "Log.entryAdded" && m.params.entry.level === "error") wrong.push(m.params.entry.text);
  });
  for (const domain of ["Page", "Runtime", "Network", "Log"]) await send(domain + ".enable");
  await send("Page.navigate", { url: base + "/" });
  const evaluate = async (code) => {
    const r = await send("Runtime.evaluate", { expression: code, awaitPromise: true, returnByValue: true });
    if (r.exceptionDetails) throw new Error(code + ": " + (r.exceptionDetails.exception?.description || r.exceptionDetails.text));
    return r.result.value;
  };
  const until = async (code) => {
    for (let i = 0; i < 1200; i++, await new Promise((r) => setTimeout(r, 100))) if (await evaluate(code).catch(() => false)) return true;
    return false;
  };
  return { send, evaluate, until, urls, wrong };
}

const set = (name, value) => `(() => { const e = document.getElementById("set-${name}"); e.value = ${JSON.stringify(value)}; e.dispatchEvent(new Event("change")); })()`;
const say = (text) => `document.getElementById("text").value = ${JSON.stringify(text)}; document.getElementById("send").click()`;
const ready = 'document.querySelector(".turn.assistant") && !document.getElementById("send").disabled';
const lastText = '[...document.querySelectorAll(".turn.assistant")].at(-1).textContent';
const tools = JSON.stringify([{ type: "function", function: { name: "calculator", description: "Evaluate an arithmetic expression", parameters: { type: "object", properties: { expression: { type: "string" } }, required: ["expression"] } } }]);

async function checkConversation(p) {
  check("page: the model is listed", await p.until('document.getElementById("model").value !== ""'), "");
  await p.evaluate(set("temperature", "0") + ";" + set("max_tokens", "60"));
  await p.evaluate(say("What is 3 + 4?"));
  check("page: an answer ends", await p.until(ready), await p.evaluate(lastText));
  check("page: thinking is folded", await p.evaluate('document.querySelectorAll("details").length === 1 && !document.querySelector("details").open'), "");
  check("page: text is shown", await p.evaluate('document.querySelector(".turn.assistant > .said").textContent.length > 3'), await p.evaluate(lastText));
  check("page: tokens are counted", await p.evaluate('/\\d+ tokens/.test(document.querySelector(".turn.assistant small").textContent)'), "");
  check("page: nothing of the text is markup", await p.evaluate('(() => { const d = document.createElement("div"); return d.append("<b>"), d.innerHTML === "&lt;b&gt;"; })()'), "");
  await p.evaluate('document.getElementById("clear").click(); ' + set("tools", tools) + ";" + set("max_tokens", "100"));
  await p.evaluate(say("What is 734 * 86?"));
  await p.until(ready);
  check("page: a call is shown", await p.evaluate('document.querySelector(".call b")?.textContent === "calculator" && document.querySelector(".call code").textContent.includes("734")'), await p.evaluate(lastText));
  await p.evaluate('document.querySelector(".call textarea").value = "63124"; document.querySelector(".call button").click()');
  await p.until('document.querySelectorAll(".turn.assistant").length === 2');
  await p.until(ready);
  check("page: a result is answered", (await p.evaluate(lastText)).includes("63124"), await p.evaluate(lastText));
}

async function checkStops(p) {
  await p.evaluate('document.getElementById("clear").click(); ' + set("tools", "") + ";" + set("max_tokens", "6000") + ";" + set("extra", '{"ignore_eos": true, "min_tokens": 6000}'));
  await p.evaluate(say("Tell me a story."));
  check("page: an answer streams", await p.until(lastText + ".length > 40 && document.getElementById('send').disabled"), "");
  await p.evaluate('document.getElementById("stop").click()');
  check("page: an answer can be stopped", await p.until(ready + " && " + lastText + '.includes("stopped")'), await p.evaluate(lastText));
  let load = -1;
  for (let i = 0; i < 100 && load !== 0; i++, await new Promise((r) => setTimeout(r, 100))) load = (await (await fetch(base + "/load")).json()).server_load;
  check("page: the server stops with it", load === 0, load);
  await p.evaluate('document.getElementById("clear").click(); ' + set("extra", "{"));
  await p.evaluate(say("x"));
  check("page: a wrong setting is told", await p.until(lastText + '.includes("extra is not JSON")'), await p.evaluate(lastText));
  await p.evaluate(set("extra", '{"temperature": 9}'));
  await p.evaluate(say("x"));
  check("page: an error is told", await p.until(lastText + '.includes("400: temperature must be")'), await p.evaluate(lastText));
}

async function checkInBrowser() {
  const dir = mkdtempSync(join(tmpdir(), "glia-page-"));
  const chrome = start(browser, dir);
  try {
    const p = await openPage(chrome);
    await p.until('document.readyState === "complete"');
    for (const [name, code, want] of units) {
      const found = await p.evaluate(code);
      check("browser: " + name, found === want, found);
    }
    await checkConversation(p);
    if (screenshot) writeFileSync(screenshot, Buffer.from((await p.send("Page.captureScreenshot")).data, "base64"));
    await checkStops(p);
    check("page: nothing comes from elsewhere", p.urls.every((u) => u.startsWith(base) || u.startsWith("data:")), p.urls.filter((u) => !u.startsWith(base)));
    const wrong = p.wrong.filter((t) => !t.includes("status of 400"));
    check("page: no errors in the console", wrong.length === 0, wrong);
    await chrome.send("Browser.close");
  } finally {
    chrome.child.kill();
    if (chrome.child.exitCode === null && chrome.child.signalCode === null) await new Promise((r) => chrome.child.once("exit", r));
    rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

checkInNode();
if (browser) await checkInBrowser();
process.exit(failed ? 1 : 0);
