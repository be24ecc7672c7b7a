// Package nostr is the k6 module k6/x/nostr: keys by the seed, signed events, and the CPU time that
// the generator itself takes.
package nostr

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"go.k6.io/k6/js/modules"
)

func init() {
	modules.Register("k6/x/nostr", new(Module))
}

// Module makes one instance for each virtual user.
type Module struct{}

// Nostr is what a script imports.
type Nostr struct{}

var _ modules.Module = (*Module)(nil)
var _ modules.Instance = (*Nostr)(nil)

// NewModuleInstance implements modules.Module.
func (*Module) NewModuleInstance(modules.VU) modules.Instance {
	return new(Nostr)
}

// Exports implements modules.Instance.
func (n *Nostr) Exports() modules.Exports {
	return modules.Exports{Default: n}
}

// Key is the secret key number nth of a seed, in hex: the same ones give the same key.
func (*Nostr) Key(seed, nth int64) string {
	return deriveKey(fmt.Sprintf("heliograph-loadtest %d %d", seed, nth))
}

// PublicKey is the public key of a secret one, in hex.
func (*Nostr) PublicKey(key string) (string, error) {
	secret, err := parseKey(key)
	if err != nil {
		return "", err
	}
	return publicHex(secret), nil
}

// Sign makes a signed event and returns it as JSON, keys in the order of NIP-01.
func (*Nostr) Sign(key string, createdAt int64, kind int, tags [][]string, content string) (string, error) {
	return sign(key, createdAt, kind, tags, content)
}

// Auth makes the answer to a relay's challenge (NIP-42) and returns it as JSON.
func (*Nostr) Auth(key, relay, challenge string) (string, error) {
	tags := [][]string{{"relay", relay}, {"challenge", challenge}}
	return sign(key, time.Now().Unix(), 22242, tags, "")
}

// Version is k6's own.
func (*Nostr) Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "go.k6.io/k6" {
				return module.Version
			}
		}
	}
	return "unknown"
}

// Cpu is the CPU time of this process so far in seconds, and the cores that it may use.
func (*Nostr) Cpu() (map[string]float64, error) {
	seconds, err := cpuSeconds()
	if err != nil {
		return nil, err
	}
	return map[string]float64{"seconds": seconds, "cores": float64(runtime.GOMAXPROCS(0))}, nil
}
