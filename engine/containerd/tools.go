//go:build tools

// Package containerd names the programs of upstream's runtime, so that go.mod
// pins them. Nothing here is compiled: the engine builds the packages by their
// own names.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
