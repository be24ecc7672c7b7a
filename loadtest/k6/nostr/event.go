package nostr

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

const hexDigits = "0123456789abcdef"

// deriveKey hashes the name until the hash is a key, which it nearly always is at once.
func deriveKey(name string) string {
	hash := sha256.Sum256([]byte(name))
	for {
		var scalar btcec.ModNScalar
		if overflow := scalar.SetBytes(&hash); overflow == 0 && !scalar.IsZero() {
			return hex.EncodeToString(hash[:])
		}
		hash = sha256.Sum256(hash[:])
	}
}

func parseKey(text string) (*btcec.PrivateKey, error) {
	bytes, err := hex.DecodeString(text)
	if err != nil || len(bytes) != 32 {
		return nil, errors.New("k6/x/nostr: a key is 64 hex digits")
	}
	secret, _ := btcec.PrivKeyFromBytes(bytes)
	return secret, nil
}

func publicHex(secret *btcec.PrivateKey) string {
	return hex.EncodeToString(schnorr.SerializePubKey(secret.PubKey()))
}

func sign(key string, createdAt int64, kind int, tags [][]string, content string) (string, error) {
	secret, err := parseKey(key)
	if err != nil {
		return "", err
	}
	if kind < 0 || kind > 65535 || createdAt < 0 {
		return "", fmt.Errorf("k6/x/nostr: kind %d or created_at %d out of range", kind, createdAt)
	}
	pubkey := publicHex(secret)
	body := appendBody(nil, tags, content)
	id := eventID(pubkey, createdAt, kind, body)
	signature, err := schnorr.Sign(secret, id[:])
	if err != nil {
		return "", err
	}
	head := fmt.Sprintf(`{"id":"%x","pubkey":"%s","created_at":%d,"kind":%d,"tags":`, id, pubkey, createdAt, kind)
	return fmt.Sprintf(`%s%s,"content":%s,"sig":"%x"}`, head, body.tags, body.content, signature.Serialize()), nil
}

// body is what of an event needs escaping, as it stands both in its JSON and in what is hashed.
type body struct{ tags, content []byte }

func appendBody(to []byte, tags [][]string, content string) body {
	to = append(to, '[')
	for nth, tag := range tags {
		if nth > 0 {
			to = append(to, ',')
		}
		to = append(to, '[')
		for at, value := range tag {
			if at > 0 {
				to = append(to, ',')
			}
			to = appendString(to, value)
		}
		to = append(to, ']')
	}
	to = append(to, ']')
	return body{tags: to, content: appendString(nil, content)}
}

// eventID is the SHA-256 of [0,pubkey,created_at,kind,tags,content] without whitespace (NIP-01).
func eventID(pubkey string, createdAt int64, kind int, body body) [32]byte {
	text := append([]byte(`[0,"`), pubkey...)
	text = append(text, `",`...)
	text = strconv.AppendInt(text, createdAt, 10)
	text = append(text, ',')
	text = strconv.AppendInt(text, int64(kind), 10)
	text = append(text, ',')
	text = append(text, body.tags...)
	text = append(text, ',')
	text = append(text, body.content...)
	return sha256.Sum256(append(text, ']'))
}

// appendString writes a JSON string with the seven short escapes of NIP-01, \u00xx for the other
// control characters, and everything else as it is. What isn't UTF-8 becomes U+FFFD.
func appendString(to []byte, text string) []byte {
	to = append(to, '"')
	for _, char := range text {
		switch char {
		case '"', '\\':
			to = append(to, '\\', byte(char))
		case '\n':
			to = append(to, `\n`...)
		case '\r':
			to = append(to, `\r`...)
		case '\t':
			to = append(to, `\t`...)
		case '\b':
			to = append(to, `\b`...)
		case '\f':
			to = append(to, `\f`...)
		default:
			if char < 0x20 {
				to = append(to, `\u00`...)
				to = append(to, hexDigits[char>>4], hexDigits[char&15])
			} else {
				to = utf8.AppendRune(to, char)
			}
		}
	}
	return append(to, '"')
}
