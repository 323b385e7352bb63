// Marks the module's root only. Each Kubernetes minor has a module file of its
// own (`go build -modfile=kube-1.36.mod`), so that one main.go serves all.
module skep.dev/engine/kube

go 1.26.0
