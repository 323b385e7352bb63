// Command nnp stands for the program of upstream's image nonewprivs: it says as
// whom it runs. In its image it belongs to root and has the setuid bit, which
// has no effect where a container may not gain privileges.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Printf("Effective uid: %d\n", os.Geteuid())
}
