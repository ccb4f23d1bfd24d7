// Conclave through jopenlibs' vault-java-driver, the driver inside Jenkins' plug-in: logins, the life
// of tokens, both key-value engines, errors, and a leader that dies between two calls.
// `../checks.txt` says what each check has to show.

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import javax.net.ssl.SSLHandshakeException;

import io.github.jopenlibs.vault.SslConfig;
import io.github.jopenlibs.vault.Vault;
import io.github.jopenlibs.vault.VaultConfig;
import io.github.jopenlibs.vault.VaultException;
import io.github.jopenlibs.vault.api.Auth.TokenRequest;
import io.github.jopenlibs.vault.api.WriteOptions;
import io.github.jopenlibs.vault.api.sys.mounts.MountPayload;
import io.github.jopenlibs.vault.api.sys.mounts.MountType;
import io.github.jopenlibs.vault.json.Json;
import io.github.jopenlibs.vault.response.AuthResponse;
import io.github.jopenlibs.vault.response.LogicalResponse;

public final class Check {
    private static final String PASSWORD = "correct horse";
    private static final String POLICY = """
        path "secret/data/app/*" { capabilities = ["create", "read", "update", "delete"] }
        path "secret/metadata/app/*" { capabilities = ["read", "delete", "list"] }
        path "secret/metadata/app" { capabilities = ["list"] }
        path "secret/delete/app/*" { capabilities = ["update"] }
        path "secret/undelete/app/*" { capabilities = ["update"] }
        path "secret/destroy/app/*" { capabilities = ["update"] }
        path "legacy/app/*" { capabilities = ["create", "read", "update", "delete", "list"] }
        path "auth/token/create" { capabilities = ["update"] }
        """;
    private static final String DENIED = "{\"errors\":[\"permission denied\"]}";
    private static final String NOTHING = "{\"errors\":[]}";
    private static final String MISMATCH =
        "{\"errors\":[\"check-and-set parameter did not match the current version\"]}";
    /** The driver's own retries carry a call over an election. */
    private static final int RETRIES_MAX = 100;
    private static final int RETRY_PAUSE_MS = 200;
    private static final int NO_LEADER = 503;

    private static final BufferedReader WORDS =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private static boolean good = true;
    /** The driver would repeat refused calls too, so those go without its retries. */
    private static int retries = RETRIES_MAX;

    private final String root = System.getenv("VAULT_TOKEN");
    private final SslConfig trust;
    private List<String> nodes = List.of(System.getenv("CLIENT_NODES").split(","));
    private int turn = 0;

    private Check() throws VaultException {
        trust = new SslConfig().pemFile(new File(System.getenv("VAULT_CACERT"))).build();
    }

    public static void main(String[] arguments) throws Exception {
        String jar = new File(Vault.class.getProtectionDomain().getCodeSource().getLocation().toURI())
            .getName().replace(".jar", "");
        int version = jar.lastIndexOf('-');
        System.out.println("client " + jar.substring(0, version) + " " + jar.substring(version + 1));
        Check check = new Check();
        check.prepare();
        check.tokens();
        check.versionedSecrets();
        check.plainSecretsAndErrors();
        check.failover();
        System.exit(good ? 0 : 1);
    }

    private void prepare() throws Exception {
        plain(root).logical().write("sys/policy/app", Map.of("policy", POLICY));
        plain(root).logical().write("sys/auth/userpass", Map.of("type", "userpass"));
        plain(root).sys().mounts().enable("legacy", MountType.KEY_VALUE, new MountPayload());
        plain(root).logical().write("auth/userpass/users/alice",
            Map.of("password", PASSWORD, "token_policies", "app", "token_ttl", "30m"));
    }

    private void tokens() throws Exception {
        check("tls", () -> {
            SslConfig anybody = new SslConfig().verify(true).build();
            VaultConfig stranger =
                new VaultConfig().address(nodes.get(0)).token(root).sslConfig(anybody).build();
            try {
                Vault.create(stranger, 1).auth().lookupSelf();
            } catch (VaultException error) {
                Throwable cause = error;
                while (cause != null && !(cause instanceof SSLHandshakeException)) cause = cause.getCause();
                holds(cause != null, error.toString());
                return;
            }
            throw new AssertionError("it trusts anybody");
        });
        String token = login().getAuthClientToken();

        check("login", () -> {
            AuthResponse login = login();
            same(List.of("app", "default"), login.getAuthPolicies());
            same("alice", login.getUsername());
            same(1800L, login.getAuthLeaseDuration());
            same(true, login.isAuthRenewable());
            holds(!login.getTokenAccessor().isEmpty(), "no accessor");
        });
        check("login-refused", () -> {
            refused(403, DENIED, () -> plain("none").auth().loginByUserPass("alice", "wrong"));
            refused(403, DENIED, () -> plain("none").auth().loginByUserPass("nobody", "wrong"));
        });
        check("token-lookup", () -> {
            var self = plain(token).auth().lookupSelf();
            same(token, self.getId());
            same("auth/userpass/login/alice", self.getPath());
            same("userpass-alice", self.getDisplayName());
            same(List.of("app", "default"), self.getPolicies());
            same(1800L, self.getCreationTTL());
            holds(self.getTTL() > 1700 && self.getTTL() <= 1800, "ttl " + self.getTTL());
            var asked = plain(root).logical().write("auth/token/lookup", Map.of("token", token));
            same(self.getAccessor(), asked.getData().get("accessor"));
        });
        check("token-renew", () -> {
            AuthResponse renewed = plain(token).auth().renewSelf(3600);
            same(3600L, renewed.getAuthLeaseDuration());
            same(token, renewed.getAuthClientToken());
            var self = plain(token).auth().lookupSelf();
            holds(self.getTTL() > 3500 && self.getTTL() <= 3600, "ttl " + self.getTTL());
            holds(self.getLastRenewalTime() >= self.getCreationTime(), "never renewed");
        });
        check("child-token", () -> childToken(token));
        check("children-end-with-parent", () -> {
            String parent = login().getAuthClientToken();
            String child = plain(parent).auth().createToken(new TokenRequest().ttl("10m"))
                .getAuthClientToken();
            plain(child).auth().lookupSelf();
            plain(root).logical().write("auth/token/revoke", Map.of("token", parent));
            refusedEverywhere(parent);
            refusedEverywhere(child);
        });
        check("token-revoke-self", () -> {
            String mine = login().getAuthClientToken();
            plain(mine).auth().revokeSelf();
            refusedEverywhere(mine);
            plain(token).auth().lookupSelf();
        });
    }

    private void childToken(String token) throws Exception {
        TokenRequest request = new TokenRequest()
            .polices(List.of("app")).ttl("10m").displayName("child").meta(Map.of("job", "7"));
        AuthResponse created = plain(token).auth().createToken(request);
        same(600L, created.getAuthLeaseDuration());
        String child = created.getAuthClientToken();
        var self = plain(child).auth().lookupSelf();
        same("token-child", self.getDisplayName());
        same(false, self.isOrphan());
        good(versioned(child).logical().write("secret/app/child", Map.of("by", "child")));
        // The policy lets it create tokens, and end itself, but no other one.
        refused(403, DENIED,
            () -> plain(token).logical().write("auth/token/revoke", Map.of("token", child)));
        plain(child).auth().revokeSelf();
        refusedEverywhere(child);
        for (String node : nodes) {
            refused(403, DENIED, () -> at(node, child, 2).logical().read("secret/app/child"));
        }
    }

    private void versionedSecrets() throws Exception {
        String token = login().getAuthClientToken();
        String path = "secret/app/db";

        check("kv2-write-read", () -> {
            var secret = Map.<String, Object>of("user", "\u00e4", "port", 5432, "tags", Json.array("a", "b"));
            var written = good(versioned(token).logical().write("secret/app/one", secret));
            same("1", written.getData().get("version"));
            for (String node : nodes) {
                var read = good(at(node, token, 2).logical().read("secret/app/one"));
                same("\u00e4", read.getData().get("user"));
                same(5432, read.getDataObject().getInt("port"));
                same(Json.array("a", "b"), read.getDataObject().get("tags"));
                same(1L, read.getDataMetadata().getVersion());
            }
        });
        check("kv2-versions", () -> {
            for (String value : List.of("first", "second", "third")) {
                good(versioned(token).logical().write(path, Map.of("value", value)));
            }
            same("third", versioned(token).logical().read(path).getData().get("value"));
            same("first", versioned(token).logical().read(path, true, 1).getData().get("value"));
            var metadata = good(plain(token).logical().read("secret/metadata/app/db"));
            same(3, metadata.getDataObject().getInt("current_version"));
            same(List.of("1", "2", "3"), metadata.getDataObject().get("versions").asObject().names());
        });
        check("kv2-cas", () -> {
            refused(400, MISMATCH, () -> compareAndSet(token, path, 2, "late"));
            refused(400, MISMATCH, () -> compareAndSet(token, path, 0, "late"));
            same("4", good(compareAndSet(token, path, 3, "fourth")).getData().get("version"));
            same("fourth", versioned(token).logical().read(path).getData().get("value"));
        });
        check("kv2-list", () -> {
            good(versioned(token).logical().write("secret/app/folder/inner", Map.of()));
            var keys = good(versioned(token).logical().list("secret/app")).getListData();
            holds(keys.containsAll(List.of("db", "one", "folder/")), keys.toString());
            same(List.of("inner"), versioned(token).logical().list("secret/app/folder").getListData());
        });
        check("kv2-delete", () -> {
            int[] newest = {4};
            versioned(token).logical().delete(path, newest);
            refused(404, null, () -> versioned(token).logical().read(path));
            same("third", versioned(token).logical().read(path, true, 3).getData().get("value"));
            versioned(token).logical().unDelete(path, newest);
            same("fourth", versioned(token).logical().read(path).getData().get("value"));
            versioned(token).logical().destroy(path, newest);
            versioned(token).logical().unDelete(path, newest);
            refused(404, null, () -> versioned(token).logical().read(path));
            versioned(token).logical().delete(path);
            refused(404, NOTHING, () -> plain(token).logical().read("secret/metadata/app/db"));
        });
    }

    private LogicalResponse compareAndSet(String token, String path, long version, String value)
            throws VaultException {
        WriteOptions options = new WriteOptions().checkAndSet(version).build();
        return versioned(token).logical().write(path, Map.of("value", value), null, options);
    }

    private void plainSecretsAndErrors() throws Exception {
        String token = login().getAuthClientToken();

        check("kv1", () -> {
            good(plain(token).logical().write("legacy/app/one", Map.of("value", "first")));
            good(plain(token).logical().write("legacy/app/one", Map.of("value", "second")));
            for (String node : nodes) {
                same(Map.of("value", "second"), at(node, token, 1).logical().read("legacy/app/one").getData());
            }
            same(List.of("one"), plain(token).logical().list("legacy/app/").getListData());
            plain(token).logical().delete("legacy/app/one");
            refused(404, NOTHING, () -> plain(token).logical().read("legacy/app/one"));
        });
        check("error-403", () -> {
            for (String node : nodes) {
                refused(403, DENIED, () -> at(node, token, 2).logical().read("secret/other"));
                refused(403, DENIED,
                    () -> at(node, token, 1).logical().write("sys/policy/app", Map.of("policy", "")));
                refused(403, DENIED, () -> at(node, "hvs.none", 2).logical().read("secret/app/one"));
            }
        });
        check("error-404", () -> {
            String lost = "{\"errors\":[\"no handler for route \\\"nowhere/x\\\". route entry not found.\"]}";
            for (String node : nodes) {
                refused(404, NOTHING, () -> at(node, token, 2).logical().read("secret/app/none"));
                refused(404, lost, () -> at(node, root, 1).logical().read("nowhere/x"));
            }
        });
    }

    private void failover() throws Exception {
        String token = login().getAuthClientToken();
        String path = "secret/app/survivor";

        check("leader-killed", () -> {
            good(compareAndSet(token, path, 0, "before"));
            String leader = leaderOf(nodes);
            kill(leader);
            nodes = nodes.stream().filter(node -> !node.equals(leader)).toList();
            same("before", versioned(token).logical().read(path).getData().get("value"));
            good(versioned(token).logical().write(path, Map.of("value", "after")));
            holds(!leader.equals(leaderOf(nodes)), "it leads still");
        });
        check("after-failover", () -> {
            for (String node : nodes) {
                same("after", at(node, token, 2).logical().read(path).getData().get("value"));
                same(token, at(node, token, 1).auth().lookupSelf().getId());
            }
            String later = login().getAuthClientToken();
            good(versioned(later).logical().write("secret/app/later", Map.of("value", "later")));
            plain(later).auth().revokeSelf();
            refusedEverywhere(later);
        });
    }

    private AuthResponse login() throws VaultException {
        // Without a token the driver would take the root token from the environment.
        return plain("none").auth().loginByUserPass("alice", PASSWORD);
    }

    /** The node that says it leads. */
    private String leaderOf(List<String> candidates) throws VaultException {
        for (String node : candidates) {
            if ("true".equals(field(at(node, root, 1).logical().read("sys/leader"), "is_self"))) return node;
        }
        throw new IllegalStateException("nobody says it leads");
    }

    /** A field at the top of an answer that has no `data`. */
    private static String field(LogicalResponse answer, String name) {
        String text = new String(answer.getRestResponse().getBody(), StandardCharsets.UTF_8);
        return Objects.toString(Json.parse(text).asObject().get(name));
    }

    /** A client of one node, which treats paths as those of this key-value version. */
    private Vault at(String node, String token, int version) throws VaultException {
        VaultConfig config = new VaultConfig()
            .address(node).token(token).sslConfig(trust).openTimeout(10).readTimeout(30).build();
        return Vault.create(config, version).withRetries(retries, RETRY_PAUSE_MS);
    }

    private String next() {
        return nodes.get(turn++ % nodes.size());
    }

    /** A client of the next node in turn, as a balancer would choose; paths are left alone. */
    private Vault plain(String token) throws VaultException {
        return at(next(), token, 1);
    }

    /** The same for the versioned engine. */
    private Vault versioned(String token) throws VaultException {
        return at(next(), token, 2);
    }

    private void refusedEverywhere(String token) throws Exception {
        for (String node : nodes) {
            refused(403, DENIED, () -> at(node, token, 1).auth().lookupSelf());
        }
    }

    private interface Call {
        Object run() throws Exception;
    }

    private interface Part {
        void run() throws Exception;
    }

    private static void refused(int status, String body, Call call) throws Exception {
        retries = 0;
        try {
            Refusal refusal = Refusal.of(call);
            for (int tries = 0; refusal.status == NO_LEADER && tries < RETRIES_MAX; tries++) {
                Thread.sleep(RETRY_PAUSE_MS);
                refusal = Refusal.of(call);
            }
            same(status, refusal.status);
            holds(body == null || refusal.words.contains(body), refusal.words);
        } finally {
            retries = RETRIES_MAX;
        }
    }

    /** The driver answers some refused calls with an exception and others with a response. */
    private record Refusal(int status, String words) {
        static Refusal of(Call call) throws Exception {
            try {
                var answer = ((LogicalResponse) call.run()).getRestResponse();
                return new Refusal(answer.getStatus(), new String(answer.getBody(), StandardCharsets.UTF_8));
            } catch (VaultException error) {
                return new Refusal(error.getHttpStatusCode(), error.getMessage());
            }
        }
    }

    /** The driver answers a refused read or write without an exception. */
    private static LogicalResponse good(LogicalResponse answer) {
        int status = answer.getRestResponse().getStatus();
        holds(status == 200 || status == 204, "status " + status);
        return answer;
    }

    private static void same(Object wanted, Object found) {
        holds(Objects.equals(wanted, found), "wanted " + wanted + ", found " + found);
    }

    private static void holds(boolean condition, String otherwise) {
        if (!condition) throw new AssertionError(otherwise);
    }

    /** Runs one check and prints how it went; an error ends the check, not the program. */
    private static void check(String name, Part part) {
        try {
            part.run();
            System.out.println("ok " + name);
        } catch (Exception | AssertionError error) {
            good = false;
            List<String> words = new ArrayList<>(List.of(error.toString()));
            for (StackTraceElement element : error.getStackTrace()) words.add("at " + element);
            System.out.println("failed " + name + ": " + String.join(" ", words).replace('\n', ' '));
        }
    }

    /** Has the node at this address killed without warning; returns once it is dead. */
    private static void kill(String address) throws IOException {
        System.out.println("kill " + address);
        same("killed", WORDS.readLine());
    }
}
