package nostr

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	bytes, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// Vector 1 of BIP-340's test-vectors.csv.
func TestSignaturesAreBip340s(t *testing.T) {
	secret, _ := btcec.PrivKeyFromBytes(unhex(t, "b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef"))
	var aux [32]byte
	aux[31] = 1
	message := unhex(t, "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89")
	signature, err := schnorr.Sign(secret, message, schnorr.CustomNonce(aux))
	if err != nil {
		t.Fatal(err)
	}
	want := unhex(t, "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de33418906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a")
	if !bytes.Equal(signature.Serialize(), want) {
		t.Errorf("signature %x", signature.Serialize())
	}
	if got := publicHex(secret); got != "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659" {
		t.Errorf("public key %s", got)
	}
}

// The bytes that are hashed are written out here as NIP-01 has them.
func TestIdsAreTheHashOfTheCanonicalForm(t *testing.T) {
	const content = "a\"b\\c\n\r\t\b\f\x01/<>&\u2028é🤙\u007f"
	escaped := `"a\"b\\c\n\r\t\b\f\u0001/<>&` + "\u2028é🤙\u007f" + `"`
	pubkey := "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659"
	text := `[0,"` + pubkey + `",1700000000,1,[["t","` + `x\"y` + `"],["e"]],` + escaped + `]`
	want := sha256.Sum256([]byte(text))
	got := eventID(pubkey, 1_700_000_000, 1, appendBody(nil, [][]string{{"t", `x"y`}, {"e"}}, content))
	if got != want {
		t.Errorf("id %x, want %x", got, want)
	}
}

func TestASignedEventHoldsWhatItWasMadeOf(t *testing.T) {
	module := new(Nostr)
	key := module.Key(1, 2)
	line, err := module.Sign(key, 1_700_000_000, 30_023, [][]string{{"d", "a\nb"}}, "hello 🤙")
	if err != nil {
		t.Fatal(err)
	}
	var event struct {
		ID        string     `json:"id"`
		Pubkey    string     `json:"pubkey"`
		CreatedAt int64      `json:"created_at"`
		Kind      int        `json:"kind"`
		Tags      [][]string `json:"tags"`
		Content   string     `json:"content"`
		Sig       string     `json:"sig"`
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		t.Fatal(err)
	}
	if event.Kind != 30_023 || event.CreatedAt != 1_700_000_000 || event.Content != "hello 🤙" || event.Tags[0][1] != "a\nb" {
		t.Errorf("event %+v", event)
	}
	public, err := schnorr.ParsePubKey(unhex(t, event.Pubkey))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := schnorr.ParseSignature(unhex(t, event.Sig))
	if err != nil {
		t.Fatal(err)
	}
	if !signature.Verify(unhex(t, event.ID), public) {
		t.Error("the signature doesn't hold")
	}
}

func TestKeysFollowTheSeed(t *testing.T) {
	module := new(Nostr)
	if module.Key(1, 2) != module.Key(1, 2) || module.Key(1, 2) == module.Key(1, 3) || module.Key(1, 2) == module.Key(2, 2) {
		t.Error("keys don't follow the seed")
	}
	if _, err := module.Sign("ab", 0, 1, nil, ""); err == nil {
		t.Error("a short key signs")
	}
}

func TestAuthNamesRelayAndChallenge(t *testing.T) {
	line, err := new(Nostr).Auth(new(Nostr).Key(1, 1), "wss://relay.example.com", "abc")
	if err != nil {
		t.Fatal(err)
	}
	want := `"kind":22242,"tags":[["relay","wss://relay.example.com"],["challenge","abc"]],"content":"","sig":"`
	if !bytes.Contains([]byte(line), []byte(want)) {
		t.Errorf("event %s", line)
	}
}

func TestCpuTimeGrows(t *testing.T) {
	module := new(Nostr)
	before, err := module.Cpu()
	if err != nil {
		t.Skip(err)
	}
	key := module.Key(1, 1)
	for nth := 0; nth < 200; nth++ {
		if _, err := module.Sign(key, 1, 1, nil, fmt.Sprint(nth)); err != nil {
			t.Fatal(err)
		}
	}
	after, err := module.Cpu()
	if err != nil || after["seconds"] <= before["seconds"] || after["cores"] < 1 {
		t.Errorf("before %v, after %v, %v", before, after, err)
	}
}
