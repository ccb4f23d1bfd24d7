package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// How this program talks to `cargo xtask clients`: a line a check on standard output, and one word on
// standard input once the leader is dead.

var (
	words  = bufio.NewScanner(os.Stdin)
	failed = false
)

// failure ends one check.
type failure string

// check runs one check and prints how it went; a failure ends the check, not the program.
func check(name string, run func()) {
	defer func() {
		switch found := recover().(type) {
		case nil:
			fmt.Println("ok", name)
		case failure:
			failed = true
			fmt.Printf("failed %s: %s\n", name, strings.ReplaceAll(string(found), "\n", " "))
		default:
			panic(found)
		}
	}()
	run()
}

func fail(format string, arguments ...any) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

// must unwraps an answer that has to be there.
func must[T any](answer T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return answer
}

func done(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// same compares what is printed alike: numbers of JSON keep their text in this client.
func same(wanted, found any) {
	if fmt.Sprint(wanted) != fmt.Sprint(found) {
		fail("wanted %v, found %v", wanted, found)
	}
}

func holds(condition bool, otherwise any) {
	if !condition {
		fail("%v", otherwise)
	}
}

// kill has the node at this address killed without warning; it returns once it is dead.
func kill(address string) {
	fmt.Println("kill", address)
	words.Scan()
	same("killed", words.Text())
}
