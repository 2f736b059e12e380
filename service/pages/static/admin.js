// @ts-check
/** The page of administrators: its forms, and an invitation that is shown once. */
import { connectForms } from "./forms.js";
import { connectCopying, showSecret } from "./secret.js";

connectCopying();
connectForms({
  invitation: ({ path, role }) => showSecret("new-invite", role, new URL(path, location.href).href),
});
