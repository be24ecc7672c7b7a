// Who signs, if anybody: lib/with-signer.js puts the extension k6/x/nostr here. Stock k6 has none.

export const signer = { nostr: null };
