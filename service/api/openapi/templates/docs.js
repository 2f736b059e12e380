
// Sends what a form says, and shows the answer as it comes.
const base = new URL(".", location.href);

function address(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-in]")) {
    if (field.dataset.in === "path") {
      path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    } else if (field.dataset.in === "query" && field.value !== "") {
      query.set(field.name, field.value);
    }
  }
  const asked = query.toString();
  return new URL(path.slice(1) + (asked && `?${asked}`), base);
}

function request(form) {
  const headers = new Headers();
  for (const field of form.querySelectorAll('[data-in="header"]')) {
    if (field.value !== "") headers.set(field.name, field.value);
  }
  const key = document.getElementById("api-key").value.trim();
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const body = form.querySelector("textarea")?.value;
  if (body) headers.set("Content-Type", "application/json");
  return { method: form.dataset.method.toUpperCase(), headers, body: body || undefined };
}

async function show(response, pre) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = (await reader?.read()) ?? { done: true };
    if (done) break;
    const follows = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
    pre.append(value);
    if (follows) pre.scrollTop = pre.scrollHeight;
  }
  if (response.headers.get("Content-Type")?.startsWith("application/json")) {
    pre.textContent = JSON.stringify(JSON.parse(pre.textContent), null, 2);
  }
}

async function send(form) {
  const [, stop] = form.querySelectorAll("button");
  const output = form.querySelector("output");
  const pre = form.querySelector("pre");
  const going = new AbortController();
  stop.onclick = () => going.abort();
  stop.hidden = pre.hidden = false;
  pre.textContent = output.textContent = "";
  pre.style.minHeight = "12rem"; // so that the first lines of a stream are in sight, too
  output.parentElement.scrollIntoView({ block: "start", behavior: "smooth" });
  try {
    const response = await fetch(address(form), { ...request(form), signal: going.signal });
    output.textContent = `${response.status} ${response.headers.get("Content-Type") ?? ""}`;
    await show(response, pre);
  } catch (error) {
    output.textContent += ` ${error.message}`;
  } finally {
    stop.hidden = true;
  }
}

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

// On a phone the menu is closed until it is needed.
const menu = document.querySelector("nav details");
const isNarrow = matchMedia("(max-width: 60rem)");
const fitMenu = () => { menu.open = !isNarrow.matches; };
isNarrow.addEventListener("change", fitMenu);
fitMenu();
menu.addEventListener("click", (event) => {
  if (isNarrow.matches && event.target.closest("a")) menu.open = false;
});
