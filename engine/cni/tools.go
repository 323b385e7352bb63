//go:build tools

// Package cni names the network plugins that nodes use, so that go.mod pins
// them. Nothing here is compiled: the engine builds the packages by their own
// names.
package cni

import (
	_ "github.com/containernetworking/plugins/plugins/ipam/host-local"
	_ "github.com/containernetworking/plugins/plugins/main/bridge"
	_ "github.com/containernetworking/plugins/plugins/main/loopback"
	_ "github.com/containernetworking/plugins/plugins/meta/portmap"
)
