// The page's half of labkit/explore/codec.py: nested objects with typed arrays, from JSON and binary buffers.

const TYPES = {
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array,
};

/** Put the arrays back: {$array: 2, dtype, shape} becomes {data: typed array, shape}. */
export function unpack(node, buffers) {
  if (Array.isArray(node)) return node.map((child) => unpack(child, buffers));
  if (node === null || typeof node !== "object") return node;
  if ("$array" in node) return { data: typed(buffers[node.$array], node.dtype), shape: node.shape };
  return Object.fromEntries(Object.entries(node).map(([key, child]) => [key, unpack(child, buffers)]));
}

/** Read the text that Python's payload() wrote: JSON and arrays, shuffled, joined, gzipped and in base64. */
export async function readPayload(text) {
  const { parts, data } = JSON.parse(text);
  const bytes = await gunzip(fromBase64(data));
  let start = 0;
  const [tree, ...buffers] = parts.map(([size, itemsize]) => {
    const part = bytes.subarray(start, start + size);
    start += size;
    return unshuffle(part, itemsize);
  });
  return unpack(JSON.parse(new TextDecoder().decode(tree)), buffers);
}

/** Undo zigzag coding: 0, 1, 2, 3, ... -> 0, -1, 1, -2, ... */
export function unzigzag(z) {
  return z & 1 ? -((z + 1) >> 1) : z >> 1;
}

function typed(view, dtype) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength); // aligned, and ours alone
  return new TYPES[dtype](bytes);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function unshuffle(bytes, itemsize) {
  const n = bytes.length / itemsize;
  const items = new Uint8Array(bytes.length);
  for (let k = 0; k < itemsize; k++) for (let i = 0; i < n; i++) items[i * itemsize + k] = bytes[k * n + i];
  return items;
}
