// Imported first by main-signing.js, so that the suite finds the signer when it reads its options.

import nostr from 'k6/x/nostr';

import { signer } from './signer.js';

signer.nostr = nostr;
