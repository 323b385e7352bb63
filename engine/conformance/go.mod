// Marks the module's root only. Each Kubernetes minor has a module file of its
// own (`go build -modfile=conformance-1.36.mod`).
module skep.dev/engine/conformance

go 1.26.0
