//go:build tools

// Package testimages names the programs that upstream's test images consist of,
// so that go.mod pins them. Nothing here is compiled: the engine builds the
// packages by their own names.
package testimages

import _ "k8s.io/kubernetes/test/images/agnhost"
