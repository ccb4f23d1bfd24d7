// Command check uses Conclave through HashiCorp's own Go client: logins, the life of tokens, both
// key-value engines, errors, and a leader that dies between two calls. `../checks.txt` says what each
// check has to show.
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/userpass"
)

const (
	module   = "github.com/hashicorp/vault/api"
	password = "correct horse"
	policy   = `
path "secret/data/app/*" { capabilities = ["create", "read", "update", "delete"] }
path "secret/metadata/app/*" { capabilities = ["read", "delete", "list"] }
path "secret/metadata/app" { capabilities = ["list"] }
path "secret/undelete/app/*" { capabilities = ["update"] }
path "secret/destroy/app/*" { capabilities = ["update"] }
path "legacy/app/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "auth/token/create" { capabilities = ["update"] }
`
	denied   = "permission denied"
	mismatch = "check-and-set parameter did not match the current version"

	// The client's own retries carry a call over an election.
	retriesMax  = 100
	retryPause  = 300 * time.Millisecond
	callTimeout = 60 * time.Second
)

var (
	ctx   = context.Background()
	root  = os.Getenv("VAULT_TOKEN")
	nodes = strings.Split(os.Getenv("CLIENT_NODES"), ",")
	turn  = 0
)

func main() {
	fmt.Println("client", module, version())
	prepare()
	tokens()
	versionedSecrets()
	plainSecretsAndErrors()
	failover()
	if failed {
		os.Exit(1)
	}
}

// version is that of the client this program was built with.
func version() string {
	build, _ := debug.ReadBuildInfo()
	place := slices.IndexFunc(build.Deps, func(m *debug.Module) bool { return m.Path == module })
	return build.Deps[place].Version
}

func prepare() {
	done(next(root).Sys().PutPolicy("app", policy))
	done(next(root).Sys().EnableAuthWithOptions("userpass", &vault.EnableAuthOptions{Type: "userpass"}))
	mount := vault.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}
	done(next(root).Sys().Mount("legacy", &mount))
	must(next(root).Logical().Write("auth/userpass/users/alice", map[string]any{
		"password": password, "token_policies": "app", "token_ttl": "30m",
	}))
}

func tokens() {
	check("tls", func() {
		config := vault.DefaultConfig()
		config.Address = nodes[0]
		config.MaxRetries = 0
		config.HttpClient.Transport.(*http.Transport).TLSClientConfig.RootCAs = x509.NewCertPool()
		_, err := must(vault.NewClient(config)).Sys().Health()
		var unknown x509.UnknownAuthorityError
		holds(errors.As(err, &unknown), err)
	})
	token := login().ClientToken

	check("login", func() {
		auth := login()
		same([]string{"app", "default"}, auth.Policies)
		same([]string{"app", "default"}, auth.TokenPolicies)
		same("alice", auth.Metadata["username"])
		same(1800, auth.LeaseDuration)
		same(true, auth.Renewable)
		holds(auth.Accessor != "" && auth.Accessor != auth.ClientToken, "no accessor")
	})
	check("login-refused", func() {
		for _, name := range []string{"alice", "nobody"} {
			_, err := loginAs(next(""), name, "wrong")
			refused(http.StatusForbidden, denied, err)
		}
	})
	check("token-lookup", func() {
		self := must(next(token).Auth().Token().LookupSelf())
		same(token, must(self.TokenID()))
		same("auth/userpass/login/alice", self.Data["path"])
		same("userpass-alice", self.Data["display_name"])
		same([]string{"app", "default"}, must(self.TokenPolicies()))
		same(1800, self.Data["creation_ttl"])
		ttl := must(self.TokenTTL())
		holds(ttl > 1700*time.Second && ttl <= 1800*time.Second, ttl)
		asked := must(next(root).Auth().Token().Lookup(token))
		same(must(self.TokenAccessor()), must(asked.TokenAccessor()))
	})
	check("token-renew", func() {
		renewed := must(next(token).Auth().Token().RenewSelf(3600))
		same(3600, renewed.Auth.LeaseDuration)
		same(token, renewed.Auth.ClientToken)
		ttl := must(must(next(token).Auth().Token().LookupSelf()).TokenTTL())
		holds(ttl > 3500*time.Second && ttl <= 3600*time.Second, ttl)
	})
	check("child-token", func() { childToken(token) })
	check("children-end-with-parent", func() {
		parent := login().ClientToken
		request := vault.TokenCreateRequest{TTL: "10m"}
		child := must(next(parent).Auth().Token().Create(&request)).Auth.ClientToken
		must(next(child).Auth().Token().LookupSelf())
		done(next(root).Auth().Token().RevokeTree(parent))
		refusedEverywhere(parent)
		refusedEverywhere(child)
	})
	check("token-revoke-self", func() {
		mine := login().ClientToken
		done(next(mine).Auth().Token().RevokeSelf(""))
		refusedEverywhere(mine)
		must(next(token).Auth().Token().LookupSelf())
	})
}

func childToken(token string) {
	request := vault.TokenCreateRequest{
		Policies: []string{"app"}, TTL: "10m", DisplayName: "child", Metadata: map[string]string{"job": "7"},
	}
	auth := must(next(token).Auth().Token().Create(&request)).Auth
	same(600, auth.LeaseDuration)
	child := auth.ClientToken
	self := must(next(child).Auth().Token().LookupSelf())
	same("token-child", self.Data["display_name"])
	same(map[string]string{"job": "7"}, must(self.TokenMetadata()))
	same(false, self.Data["orphan"])
	must(secret(next(child)).Put(ctx, "app/child", map[string]any{"by": "child"}))
	// The policy lets it create tokens, and end itself, but no other one.
	refused(http.StatusForbidden, denied, next(token).Auth().Token().RevokeTree(child))
	done(next(child).Auth().Token().RevokeSelf(""))
	refusedEverywhere(child)
	for _, node := range nodes {
		_, err := secret(at(node, child)).Get(ctx, "app/child")
		refused(http.StatusForbidden, denied, err)
	}
}

func versionedSecrets() {
	token := login().ClientToken
	put := func(value string, options ...vault.KVOption) (*vault.KVSecret, error) {
		return secret(next(token)).Put(ctx, "app/db", map[string]any{"value": value}, options...)
	}
	get := func() (*vault.KVSecret, error) { return secret(next(token)).Get(ctx, "app/db") }
	value := func(answer *vault.KVSecret, err error) any { return must(answer, err).Data["value"] }

	check("kv2-write-read", func() {
		data := map[string]any{"user": "ä", "port": 5432, "tags": []string{"a", "b"}}
		written := must(secret(next(token)).Put(ctx, "app/one", data))
		same(1, written.VersionMetadata.Version)
		for _, node := range nodes {
			read := must(secret(at(node, token)).Get(ctx, "app/one"))
			same(data, read.Data)
			same(1, read.VersionMetadata.Version)
			same(written.VersionMetadata.CreatedTime, read.VersionMetadata.CreatedTime)
		}
	})
	check("kv2-versions", func() {
		for _, value := range []string{"first", "second", "third"} {
			must(put(value))
		}
		same("third", value(get()))
		same("first", value(secret(next(token)).GetVersion(ctx, "app/db", 1)))
		same(3, must(secret(next(token)).GetMetadata(ctx, "app/db")).CurrentVersion)
		same(3, len(must(secret(next(token)).GetVersionsAsList(ctx, "app/db"))))
	})
	check("kv2-cas", func() {
		for _, wrong := range []int{2, 0} {
			_, err := put("late", vault.WithCheckAndSet(wrong))
			refused(http.StatusBadRequest, mismatch, err)
		}
		same(4, must(put("fourth", vault.WithCheckAndSet(3))).VersionMetadata.Version)
		same("fourth", value(get()))
	})
	check("kv2-list", func() {
		must(secret(next(token)).Put(ctx, "app/folder/inner", map[string]any{}))
		keys := fmt.Sprint(must(next(token).Logical().List("secret/metadata/app")).Data["keys"])
		same("[child db folder/ one]", keys)
		same("[inner]", must(next(token).Logical().List("secret/metadata/app/folder")).Data["keys"])
	})
	check("kv2-delete", func() {
		done(secret(next(token)).Delete(ctx, "app/db"))
		// This client takes a deleted version's 404 for an answer without data.
		same(true, must(get()).Data == nil)
		same("third", value(secret(next(token)).GetVersion(ctx, "app/db", 3)))
		done(secret(next(token)).Undelete(ctx, "app/db", []int{4}))
		same("fourth", value(get()))
		done(secret(next(token)).Destroy(ctx, "app/db", []int{4}))
		done(secret(next(token)).Undelete(ctx, "app/db", []int{4}))
		same(true, must(get()).Data == nil)
		done(secret(next(token)).DeleteMetadata(ctx, "app/db"))
		_, err := get()
		holds(errors.Is(err, vault.ErrSecretNotFound), err)
	})
}

func plainSecretsAndErrors() {
	token := login().ClientToken

	check("kv1", func() {
		for _, value := range []string{"first", "second"} {
			done(next(token).KVv1("legacy").Put(ctx, "app/one", map[string]any{"value": value}))
		}
		for _, node := range nodes {
			read := must(at(node, token).KVv1("legacy").Get(ctx, "app/one"))
			same(map[string]any{"value": "second"}, read.Data)
		}
		same("[one]", must(next(token).Logical().List("legacy/app/")).Data["keys"])
		done(next(token).KVv1("legacy").Delete(ctx, "app/one"))
		_, err := next(token).KVv1("legacy").Get(ctx, "app/one")
		holds(errors.Is(err, vault.ErrSecretNotFound), err)
	})
	check("error-403", func() {
		for _, node := range nodes {
			_, err := secret(at(node, token)).Get(ctx, "other")
			refused(http.StatusForbidden, denied, err)
			refused(http.StatusForbidden, denied, at(node, token).Sys().PutPolicy("app", ""))
			_, err = secret(at(node, "hvs.none")).Get(ctx, "app/one")
			refused(http.StatusForbidden, denied, err)
		}
	})
	check("error-404", func() {
		lost := `no handler for route "nowhere/x". route entry not found.`
		for _, node := range nodes {
			_, err := secret(at(node, token)).Get(ctx, "app/none")
			holds(errors.Is(err, vault.ErrSecretNotFound), err)
			_, err = at(node, root).Logical().Write("nowhere/x", map[string]any{"a": 1})
			refused(http.StatusNotFound, lost, err)
		}
	})
}

func failover() {
	token := login().ClientToken
	value := func(text string) map[string]any { return map[string]any{"value": text} }

	check("leader-killed", func() {
		must(secret(next(token)).Put(ctx, "app/survivor", value("before"), vault.WithCheckAndSet(0)))
		leader := leaderOf(nodes)
		kill(leader)
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return node == leader })
		same("before", must(secret(next(token)).Get(ctx, "app/survivor")).Data["value"])
		must(secret(next(token)).Put(ctx, "app/survivor", value("after")))
		holds(leaderOf(nodes) != leader, "it leads still")
	})
	check("after-failover", func() {
		for _, node := range nodes {
			same("after", must(secret(at(node, token)).Get(ctx, "app/survivor")).Data["value"])
			same(token, must(must(at(node, token).Auth().Token().LookupSelf()).TokenID()))
		}
		later := login().ClientToken
		must(secret(next(later)).Put(ctx, "app/later", value("later")))
		done(next(later).Auth().Token().RevokeSelf(""))
		refusedEverywhere(later)
	})
}

func login() *vault.SecretAuth {
	return must(loginAs(next(""), "alice", password)).Auth
}

func loginAs(client *vault.Client, name, password string) (*vault.Secret, error) {
	method := must(userpass.NewUserpassAuth(name, &userpass.Password{FromString: password}))
	return client.Auth().Login(ctx, method)
}

func secret(client *vault.Client) *vault.KVv2 {
	return client.KVv2("secret")
}

// at is a client of one node, which asks again while that node knows of no leader; it finds the CA in
// the environment.
func at(node, token string) *vault.Client {
	config := vault.DefaultConfig()
	config.Address = node
	config.MaxRetries = retriesMax
	config.MinRetryWait, config.MaxRetryWait = retryPause, retryPause
	config.Timeout = callTimeout
	client := must(vault.NewClient(config))
	client.SetToken(token)
	return client
}

// next is a client of the next node in turn, as a balancer would choose.
func next(token string) *vault.Client {
	turn++
	return at(nodes[turn%len(nodes)], token)
}

// leaderOf is the node that says it leads.
func leaderOf(candidates []string) string {
	for _, node := range candidates {
		if must(at(node, root).Sys().Leader()).IsSelf {
			return node
		}
	}
	fail("nobody says it leads")
	return ""
}

func refusedEverywhere(token string) {
	for _, node := range nodes {
		_, err := at(node, token).Auth().Token().LookupSelf()
		refused(http.StatusForbidden, denied, err)
	}
}

// refused fails unless the call was refused with this status and these words.
func refused(status int, words string, err error) {
	var response *vault.ResponseError
	holds(errors.As(err, &response), err)
	same(status, response.StatusCode)
	same([]string{words}, response.Errors)
}
