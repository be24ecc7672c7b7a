//go:build !unix

package nostr

import "errors"

func cpuSeconds() (float64, error) {
	return 0, errors.New("k6/x/nostr: this system doesn't say how much CPU time a process took")
}
