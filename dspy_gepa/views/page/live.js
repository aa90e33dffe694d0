let tag = "";
const refresh = async () => {
  try {
    const answer = await fetch(location.pathname, {headers: tag ? {"If-None-Match": tag} : {}, cache: "no-store"});
    if (answer.status === 200) {
      const is_first = !tag;
      tag = answer.headers.get("ETag");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!is_first) {
        const open = all("details[open]").map((each) => each.id || all("details").indexOf(each));
        const top = scrollY;
        document.getElementById("page").replaceWith(document.adoptNode(page.getElementById("page")));
        prepare();
        const details = all("details");
        open.forEach((key) => { const each = typeof key === "string" ? document.getElementById(key) : details[key]; if (each) each.open = true; });
        scrollTo(0, top);
      }
    }
  } catch (error) { /* The server is away: the page stays as it is. */ }
  setTimeout(refresh, 2000);
};
refresh();
