package main

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"
)

// htpasswd prints the line of a password file, in the one form that the registry takes.
func htpasswd(args []string) error {
	if len(args) != 2 {
		return errors.New("expected USER PASSWORD")
	}
	// The password is random, so that guessing it is out of the question, and the registry compares it at every request.
	hash, err := bcrypt.GenerateFromPassword([]byte(args[1]), bcrypt.MinCost)
	if err != nil {
		return err
	}
	fmt.Printf("%s:%s\n", args[0], hash)
	return nil
}
