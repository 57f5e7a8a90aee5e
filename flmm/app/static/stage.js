// The picture with its masks. Everything that the reader points at is drawn here, without asking the server:
// `props.value` holds the picture and, per phrase, a small map (red: coarse probability, green: refined).
const THRESHOLD = 127.5;
const LONGEST = 960; // pixels of the canvas's longer side
const loaded = new Map(); // data URI -> promise of its image
let pinned = null, hovered = null, drawing = 0;

const at = (selector) => element.querySelector(selector);
const keyOf = (button) => `${button.dataset.turn}/${button.dataset.phrase}`;
const image = (uri) => {
  if (!loaded.has(uri)) {
    loaded.set(uri, new Promise((resolve, reject) => {
      const made = new Image();
      made.onload = () => resolve(made);
      made.onerror = reject;
      made.src = uri;
    }));
  }
  return loaded.get(uri);
};
const pixels = (drawn, width, height) => {
  const sheet = new OffscreenCanvas(width, height);
  const pen = sheet.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(drawn, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
};

function phrases() {
  const turns = (props.value && props.value.turns) || [];
  const key = hovered || pinned;
  if (key) {
    const [turn, phrase] = key.split("/").map(Number);
    const found = turns[turn] && turns[turn][phrase];
    return found ? [found] : [];
  }
  return turns.length ? turns[turns.length - 1] : [];
}

async function draw() {
  const canvas = at("canvas"), value = props.value, turn = ++drawing;
  if (!value || !value.picture) return;
  const shown = phrases(), single = Boolean(hovered || pinned) && shown.length === 1;
  const [photo, ...maps] = await Promise.all([value.picture, ...shown.map((each) => each.map)].map(image));
  if (turn !== drawing) return; // something newer is drawn already
  const scale = LONGEST / Math.max(photo.width, photo.height);
  const width = Math.round(photo.width * scale), height = Math.round(photo.height * scale);
  canvas.width = width; canvas.height = height;
  const picture = pixels(photo, width, height), refined = Number(at("input").value) / 100;
  maps.forEach((map, number) => paint(picture, pixels(map, width, height), shown[number].rgb, refined, single));
  canvas.getContext("2d").putImageData(picture, 0, 0);
  tell(canvas, shown, single);
}

function paint(picture, map, rgb, refined, single) {
  const { width, height, data } = picture, inside = new Uint8Array(width * height);
  for (let i = 0; i < inside.length; i++) {
    inside[i] = map.data[4 * i] * (1 - refined) + map.data[4 * i + 1] * refined > THRESHOLD ? 1 : 0;
  }
  const strength = single ? 0.38 : 0.42;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const p = 4 * i;
      if (!inside[i]) {
        if (single) { // all else steps back
          const grey = 0.3 * data[p] + 0.59 * data[p + 1] + 0.11 * data[p + 2];
          for (let c = 0; c < 3; c++) data[p + c] = 0.55 * (0.25 * data[p + c] + 0.75 * grey) + 0.45 * 240;
        }
        continue;
      }
      const edge = x < 2 || y < 2 || x > width - 3 || y > height - 3 ||
        !inside[i - 2] || !inside[i + 2] || !inside[i - 2 * width] || !inside[i + 2 * width];
      const share = edge ? 1 : strength;
      for (let c = 0; c < 3; c++) data[p + c] = (1 - share) * data[p + c] + share * rgb[c];
    }
  }
}

function tell(canvas, shown, single) {
  const words = shown.map((each) => `“${each.text}”`).join(", ");
  const caption = at(".caption");
  if (single) caption.textContent = `${words} · score ${shown[0].score} · ${shown[0].area} of the picture`;
  else if (shown.length) caption.textContent = "Point at a coloured phrase, or click it, to see its mask alone.";
  else caption.textContent = "Ask something: the phrases of the answer will be shown here.";
  canvas.setAttribute("aria-label", shown.length ? `The picture with the masks of ${words}` : "The picture");
}

function mark() {
  document.querySelectorAll(".phrase").forEach((button) => {
    const pressed = String(keyOf(button) === pinned);
    if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
  });
}

function pointed(event, on) {
  const button = event.target.closest && event.target.closest(".phrase");
  if (!button) return;
  const key = on ? keyOf(button) : null;
  if (key !== hovered) { hovered = key; draw(); }
}

for (const [name, on] of [["pointerover", true], ["pointerout", false]]) { // a finger does not hover
  document.addEventListener(name, (event) => event.pointerType === "mouse" && pointed(event, on));
}
document.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && pointed(event, true));
document.addEventListener("focusout", (event) => pointed(event, false));
document.addEventListener("click", (event) => {
  const button = event.target.closest(".phrase");
  if (button) pin(button);
});
document.addEventListener("keydown", (event) => {
  if (!event.target.matches(".phrase") || !["Enter", " "].includes(event.key)) return;
  event.preventDefault();
  pin(event.target);
});
function pin(button) {
  pinned = keyOf(button) === pinned ? null : keyOf(button);
  hovered = null;
  mark();
  draw();
  if (pinned) trigger("select", { turn: Number(button.dataset.turn), phrase: Number(button.dataset.phrase) });
  if (pinned && window.matchMedia("(max-width: 800px)").matches) {
    at("canvas").scrollIntoView({ behavior: "smooth", block: "start" }); // it is above the talk on a phone
  }
}
element.addEventListener("input", () => draw());
let turnsSeen = 0;
watch("value", () => {
  const count = (props.value && props.value.turns && props.value.turns.length) || 0;
  if (count !== turnsSeen) { pinned = hovered = null; turnsSeen = count; }
  mark();
  draw();
});
new MutationObserver(mark).observe(document.body, { childList: true, subtree: true });
draw();
