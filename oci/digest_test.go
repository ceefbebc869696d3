package main

import (
	"context"
	"net/http"
	"testing"
	"time"
)

func TestDigest(t *testing.T) {
	address := serve(t, func(handler http.Handler) http.Handler { return handler })
	ctx := context.Background()
	pushed, err := push(ctx, write(t, map[string]string{"w": "w"}), address+"/ml/m:1", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if found := resolve(ctx, address+"/ml/m:1"); found.Digest != pushed.Digest || found.Reason != "" {
		t.Fatalf("%+v", found)
	}
	if found := resolve(ctx, address+"/ml/m:2"); found.Reason != "missing" {
		t.Fatalf("%+v", found)
	}
	if found := resolve(ctx, "::"); found.Reason != "invalid" {
		t.Fatalf("%+v", found)
	}
}

func TestDigestOfARegistryThatRefusesOrIsAway(t *testing.T) {
	refuse := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
			http.Error(response, "no", http.StatusForbidden)
		})
	})
	if found := resolve(context.Background(), refuse+"/ml/m:1"); found.Reason != "denied" {
		t.Fatalf("%+v", found)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if found := resolve(ctx, "127.0.0.1:1/ml/m:1"); found.Reason != "unreachable" {
		t.Fatalf("%+v", found)
	}
}
