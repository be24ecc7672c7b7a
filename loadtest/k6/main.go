// Program k6 is stock k6 with the module k6/x/nostr, which signs events: what AUTH and runs without
// end need, and what a script is too slow for.
package main

import (
	"go.k6.io/k6/cmd"

	_ "heliograph/loadtest/nostr"
)

func main() {
	cmd.Execute()
}
